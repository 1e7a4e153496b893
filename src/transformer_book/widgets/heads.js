import { make } from "./_elements.js";

/** @typedef {number[][]} Matrix rows of queries, columns of keys */

/**
 * Weights of one kind of attention. @param {string} text bytes in base64, 255 for a weight of 1
 * @param {number} layers @param {number} heads @param {number} rows @param {number} columns
 * @returns {Matrix[][]} by layer and head
 */
export function unpack(text, layers, heads, rows, columns) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  let at = 0;
  const row = () => Array.from({ length: columns }, () => bytes[at++] / 255);
  const matrix = () => Array.from({ length: rows }, row);
  return Array.from({ length: layers }, () => Array.from({ length: heads }, matrix));
}

/** Mean entropy of the rows, in bits. @param {Matrix} matrix @returns {number} */
export function meanEntropy(matrix) {
  const bits = (row) => {
    const total = row.reduce((sum, p) => sum + p, 0) || 1;
    return row.reduce((sum, p) => sum - (p > 0 ? (p / total) * Math.log2(p / total) : 0), 0);
  };
  return matrix.reduce((sum, row) => sum + bits(row), 0) / matrix.length;
}

/**
 * Mean share on the key at a distance from the query: 0 itself, −1 the one before. Rows without one count as 0.
 * @param {Matrix} matrix @param {number} distance @returns {number}
 */
export function shareAt(matrix, distance) {
  return matrix.reduce((sum, row, t) => sum + (row[t + distance] ?? 0), 0) / matrix.length;
}

/** The keys with the largest weights of a row. @param {number[]} row @param {number} count @returns {number[]} */
export function largest(row, count) {
  return row
    .map((weight, key) => ({ weight, key }))
    .sort((a, b) => b.weight - a.weight || a.key - b.key)
    .slice(0, count)
    .map(({ key }) => key);
}

const KINDS = [
  { kind: "encoder", title: "Encoder: source looks at source", rows: "source", columns: "source" },
  { kind: "decoder", title: "Decoder: what is written looks at what was written", rows: "target", columns: "fed" },
  { kind: "cross", title: "Cross: what is written looks at the source", rows: "target", columns: "source" },
];
const MAX_PINS = 2;
const SMALL = 76; // CSS pixels of a small picture
const shown = (symbol) => (symbol === " " ? "␣" : symbol);

/** What a head does most, in a word. @param {Matrix} matrix @param {string} kind */
function habit(matrix, kind) {
  const bits = `${meanEntropy(matrix).toFixed(1)} bits`;
  if (kind === "cross") return bits;
  const habits = [
    ["itself", shareAt(matrix, 0)],
    ["one back", shareAt(matrix, -1)],
    ["one on", shareAt(matrix, 1)],
  ];
  const [name, share] = habits.reduce((best, next) => (next[1] > best[1] ? next : best));
  return share > 0.4 ? `${bits}, ${name}` : bits;
}

function render({ model, el }) {
  const layers = model.get("layers");
  const count = model.get("num_heads");
  const heads = KINDS.flatMap(({ kind, ...axes }) =>
    Array.from({ length: layers[kind] * count }, (_, i) => ({
      kind,
      ...axes,
      layer: Math.floor(i / count),
      head: i % count,
      name: `${kind}-${Math.floor(i / count) + 1}-${(i % count) + 1}`,
      label: `${kind} layer ${Math.floor(i / count) + 1} head ${(i % count) + 1}`,
    })),
  );
  const select = make("select", {}, ...model.get("inputs").map(({ source }, i) => make("option", { value: i }, source.join(""))));
  const written = make("output");
  const small = new Map();
  for (const head of heads) {
    const canvas = make("canvas", { width: SMALL * 2, height: SMALL * 2, "aria-hidden": "true" });
    const text = make("span", { class: "tb-heads-habit" });
    const button = make(
      "button",
      { type: "button", "aria-pressed": "false", "data-head": head.name },
      make("span", { class: "tb-heads-name" }, `${head.layer + 1}·${head.head + 1}`),
      canvas,
      text,
    );
    small.set(head.name, { button, canvas, text, head });
  }
  const groups = KINDS.map(({ kind, title }) =>
    make(
      "section",
      { class: "tb-heads-group", "aria-label": title },
      make("p", {}, make("b", {}, title)),
      make(
        "div",
        { class: "tb-heads-layers" },
        ...Array.from({ length: layers[kind] }, (_, layer) =>
          make(
            "div",
            { class: "tb-heads-grid", style: `--heads: ${count}` },
            ...heads.filter((head) => head.kind === kind && head.layer === layer).map(({ name }) => small.get(name).button),
          ),
        ),
      ),
    ),
  );
  const large = make("div", { class: "tb-heads-large" });
  const says = make("p", { class: "tb-heads-says", "aria-live": "polite" });
  const root = make(
    "div",
    { class: "tb-root tb-heads", role: "group", "aria-label": "Heads of a trained Transformer: where each of them looks" },
    make("div", { class: "tb-controls" }, make("div", { class: "tb-control" }, make("label", {}, "reads", select)), make("span", {}, "writes ", written)),
    large,
    ...groups,
    make("p", { class: "tb-muted" }, "Layer · head. Rows are queries, columns keys; the stronger the colour, the larger the weight. Press a picture to pin it; two can be compared."),
    says,
  );

  let data = {};
  const marked = { source: 0, target: 0 }; // the row pointed at, among source or written symbols

  function symbols(axis) {
    const { source, target } = data.input;
    if (axis === "source") return source;
    return axis === "target" ? target : ["⊢", ...target.slice(0, -1)];
  }
  const matrixOf = ({ kind, layer, head }) => data[kind][layer][head];

  function read() {
    const input = model.get("inputs")[model.get("chosen")];
    const [s, t] = [input.source.length, input.target.length];
    data = {
      input,
      encoder: unpack(input.encoder, layers.encoder, count, s, s),
      decoder: unpack(input.decoder, layers.decoder, count, t, t),
      cross: unpack(input.cross, layers.cross, count, t, s),
    };
    marked.source = Math.min(marked.source, s - 1);
    marked.target = Math.min(marked.target, t - 1);
    select.value = model.get("chosen");
    written.textContent = input.target.slice(0, -1).join("");
    for (const { head, text } of small.values()) text.textContent = habit(matrixOf(head), head.kind);
    repin();
  }

  function paint({ canvas, head }) {
    const style = getComputedStyle(root);
    const matrix = matrixOf(head);
    const [rows, columns] = [matrix.length, matrix[0].length];
    const context = canvas.getContext("2d");
    const [wide, high] = [canvas.width / columns, canvas.height / rows];
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = style.getPropertyValue("--w-weight");
    matrix.forEach((row, t) => {
      row.forEach((weight, k) => {
        context.globalAlpha = weight;
        context.fillRect(k * wide, t * high, wide + 0.5, high + 0.5);
      });
    });
    context.globalAlpha = 1;
    context.fillStyle = style.getPropertyValue("--w-accent");
    const y = (marked[head.rows] + 0.5) * high - 1;
    context.fillRect(0, y, 5, 3);
    context.fillRect(canvas.width - 5, y, 5, 3);
  }

  let views = [];
  function repin() {
    const pinned = model.get("pinned");
    for (const [name, { button }] of small) button.setAttribute("aria-pressed", String(pinned.includes(name)));
    views = pinned.map((name) => largeView(small.get(name).head));
    large.replaceChildren(...views.map(({ figure }) => figure));
    large.hidden = views.length === 0;
    mark();
  }

  function largeView(head) {
    const matrix = matrixOf(head);
    const [rows, columns] = [symbols(head.rows), symbols(head.columns)];
    const cell = 16;
    const [left, top] = [20, 20];
    const frame = make("rect", { class: "frame", x: left, height: cell, width: columns.length * cell });
    const cells = matrix.flatMap((row, t) =>
      row.map((weight, k) =>
        make("rect", { class: "cell", x: left + k * cell, y: top + t * cell, width: cell, height: cell, "fill-opacity": weight.toFixed(3) }),
      ),
    );
    const rowTexts = rows.map((symbol, t) => make("text", { x: left - 5, y: top + (t + 0.75) * cell, "text-anchor": "end" }, shown(symbol)));
    const columnTexts = columns.map((symbol, k) => make("text", { x: left + (k + 0.5) * cell, y: top - 6, "text-anchor": "middle" }, shown(symbol)));
    const svg = make(
      "svg",
      { viewBox: `0 0 ${left + columns.length * cell + 2} ${top + rows.length * cell + 2}`, "aria-hidden": "true", style: `max-width: ${(left + columns.length * cell) * 1.25}px` },
      make("rect", { class: "ground", x: left, y: top, width: columns.length * cell, height: rows.length * cell }),
      ...cells,
      frame,
      ...rowTexts,
      ...columnTexts,
    );
    const dial = make("input", { type: "range", min: 0, max: rows.length - 1, step: 1 });
    const symbol = make("output");
    const bars = make("p", { class: "tb-heads-top" });
    const axis = head.rows;
    dial.addEventListener("input", () => {
      marked[axis] = Number(dial.value);
      mark();
    });
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const t = Math.floor((((event.clientY - box.top) / box.height) * (top + rows.length * cell + 2) - top) / cell);
      if (t >= 0 && t < rows.length && t !== marked[axis]) {
        marked[axis] = t;
        mark();
      }
    });
    const figure = make(
      "figure",
      {},
      make("figcaption", {}, make("b", {}, head.label), make("span", { class: "tb-muted" }, habit(matrix, head.kind))),
      svg,
      make("div", { class: "tb-control" }, make("label", {}, axis === "source" ? "query" : "writes", dial), symbol),
      bars,
    );
    return {
      figure,
      said: () => `${head.label}: ${bars.textContent}`,
      mark() {
        const t = marked[axis];
        frame.setAttribute("y", top + t * cell);
        rowTexts.forEach((text, i) => text.setAttribute("class", i === t ? "chosen" : ""));
        const keys = largest(matrix[t], 3);
        columnTexts.forEach((text, i) => text.setAttribute("class", i === keys[0] ? "chosen" : ""));
        dial.value = t;
        dial.setAttribute("aria-valuetext", `${rows[t]}, symbol ${t + 1} of ${rows.length}`);
        symbol.textContent = shown(rows[t]);
        const parts = keys.map((k) => `${shown(columns[k])} (place ${k + 1}) ${matrix[t][k].toFixed(2)}`);
        bars.textContent = `${shown(rows[t])} (place ${t + 1}) looks at ${parts.join(", ")}`;
      },
    };
  }

  function mark() {
    for (const entry of small.values()) paint(entry);
    for (const view of views) view.mark();
    says.textContent = views.length === 0 ? "No head is pinned." : `${views.map((view) => view.said()).join(". ")}.`;
  }

  select.addEventListener("change", () => {
    model.set("chosen", Number(select.value));
    model.save_changes();
  });
  for (const { button, canvas, head } of small.values()) {
    button.addEventListener("click", () => {
      const pinned = model.get("pinned");
      const rest = pinned.filter((name) => name !== head.name);
      model.set("pinned", rest.length < pinned.length ? rest : [...pinned, head.name].slice(-MAX_PINS));
      model.save_changes();
    });
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const length = symbols(head.rows).length;
      const t = Math.max(0, Math.min(length - 1, Math.floor(((event.clientY - box.top) / box.height) * length)));
      if (t !== marked[head.rows]) {
        marked[head.rows] = t;
        mark();
      }
    });
  }

  const listeners = { chosen: read, pinned: repin };
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  el.append(root);
  read();
  // A canvas takes its colours when it is painted: again when the theme changes, and when the widget, made outside the
  // page, gets its place in it and with that its style.
  const watcher = new MutationObserver(() => small.forEach(paint));
  const placed = new ResizeObserver(() => small.forEach(paint));
  placed.observe(root);
  for (const node of [document.documentElement, document.body]) watcher.observe(node, { attributes: true });
  return () => {
    watcher.disconnect();
    placed.disconnect();
    for (const [name, listener] of Object.entries(listeners)) model.off(`change:${name}`, listener);
    root.remove();
  };
}

export default { render };
