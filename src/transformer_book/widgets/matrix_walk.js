// Matrix walk. Arithmetic first, as a pure function that is tested against the Python package; then the view.
import { make } from "./_elements.js";

/** @typedef {number[][]} Matrix */

/** One row of weights; keys that may not be attended to get exactly 0, a row without any is all zeros.
 * @param {number[]} scores @param {boolean[]} allowed @returns {number[]} */
export function maskedSoftmax(scores, allowed) {
  const largest = Math.max(...scores.filter((_, j) => allowed[j]));
  const exps = scores.map((score, j) => (allowed[j] ? Math.exp(score - largest) : 0));
  const total = exps.reduce((sum, x) => sum + x, 0);
  return exps.map((x) => (total > 0 ? x / total : 0));
}

/**
 * Scaled dot-product attention with every step kept.
 * @param {Matrix} query (T, D) @param {Matrix} key (S, D) @param {Matrix} value (S, Dv)
 * @param {boolean[][]} mask (T, S), true = may attend; an empty list allows everything
 * @param {boolean} scaled whether products are divided by √D
 * @returns {{products: Matrix, scores: Matrix, allowed: boolean[][], weights: Matrix, output: Matrix}}
 */
export function attention(query, key, value, mask, scaled) {
  const divisor = scaled ? Math.sqrt(key[0].length) : 1;
  const products = query.map((q) => key.map((k) => q.reduce((sum, x, d) => sum + x * k[d], 0)));
  const scores = products.map((row) => row.map((product) => product / divisor));
  const allowed = scores.map((row, i) => row.map((_, j) => mask.length === 0 || mask[i][j]));
  const weights = scores.map((row, i) => maskedSoftmax(row, allowed[i]));
  const output = weights.map((row) => value[0].map((_, c) => row.reduce((sum, p, j) => sum + p * value[j][c], 0)));
  return { products, scores, allowed, weights, output };
}

/** A number in at most five characters and a sign: two decimals below 10. @param {number} x @returns {string} */
export function short(x) {
  const size = Math.abs(x);
  const decimals = size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
  const text = size < 9999.5 ? size.toFixed(decimals) : size.toExponential(0);
  return x < 0 && Number(text) !== 0 ? `−${text}` : text;
}

const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
const STEP = 0.1;

// Sizes in CSS pixels. A cell narrower than LEAST_CELL would not hold "−0.62" in a legible size.
const LEAST_CELL = 38;
const MOST_CELL = 48;
const MOST_LABEL = 44;
const GAP = 8;
const BETWEEN = 16;

/** Set an attribute that differs; writing the same again would cost the browser work on every drag. */
function put(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** A matrix as rows of cells. `pointable` makes it a grid that the mouse and the arrow keys walk. */
function makeGrid({ of, name, rows, columns, rowLabels, columnLabels, pointable }) {
  const cells = Array.from({ length: rows }, (_, i) =>
    Array.from({ length: columns }, (_, j) =>
      make("div", { class: "tb-walk-cell", role: pointable ? "gridcell" : "cell", "data-of": of, "data-at": `${i},${j}` }),
    ),
  );
  const lines = cells.map((row, i) => {
    const line = make("div", { class: "tb-walk-row", role: "row" });
    if (rowLabels) line.append(make("div", { class: "tb-walk-label", role: "rowheader", title: rowLabels[i] }, rowLabels[i]));
    line.append(...row);
    return line;
  });
  if (columnLabels) {
    const line = make("div", { class: "tb-walk-row", role: "row" });
    if (rowLabels) line.append(make("div", { class: "tb-walk-label tb-walk-corner", "aria-hidden": "true" }));
    line.append(
      ...columnLabels.map((label) =>
        make("div", { class: "tb-walk-label tb-walk-head", role: "columnheader", title: label }, label),
      ),
    );
    lines.unshift(line);
  }
  const title = make("span", { class: "tb-walk-name", "data-of": of }, name);
  const grid = make("div", { role: pointable ? "grid" : "table", "aria-label": of }, ...lines);
  return { cells, title, node: make("div", { class: `tb-walk-matrix tb-walk-of-${of}` }, title, grid) };
}

function render({ model, el }) {
  const key = model.get("key");
  const value = model.get("value");
  const mask = model.get("mask");
  const queryLabels = model.get("query_labels");
  const keyLabels = model.get("key_labels");
  const firstQuery = model.get("query");
  const [T, S, D, Dv] = [queryLabels.length, keyLabels.length, key[0].length, value[0].length];

  const grids = {
    query: makeGrid({ of: "query", name: "Q", rows: T, columns: D, rowLabels: queryLabels }),
    key: makeGrid({ of: "key", name: "Kᵀ", rows: D, columns: S, columnLabels: keyLabels }),
    scores: makeGrid({ of: "scores", name: "scores", rows: T, columns: S, rowLabels: queryLabels, columnLabels: keyLabels, pointable: true }),
    value: makeGrid({ of: "value", name: "V", rows: S, columns: Dv, rowLabels: keyLabels }),
    weights: makeGrid({
      of: "weights",
      name: "weights",
      rows: T,
      columns: S,
      rowLabels: queryLabels,
      columnLabels: keyLabels,
      pointable: true,
    }),
    output: makeGrid({ of: "output", name: "output", rows: T, columns: Dv, rowLabels: queryLabels, pointable: true }),
  };
  const pointable = ["scores", "weights", "output"];

  function block(upper, left, product) {
    return make("div", { class: "tb-walk-block" }, grids[upper].node, grids[left].node, grids[product].node);
  }

  const scaledInput = make("input", { type: "checkbox" });
  const maskedInput = make("input", { type: "checkbox" });
  const switches = [make("label", {}, scaledInput, `divide by √D = √${D}`)];
  if (mask.length > 0) switches.push(make("label", {}, maskedInput, "mask"));
  const sum = make("div", { class: "tb-walk-sum", "aria-live": "polite", "aria-atomic": "true" });
  const heading = make("span", { class: "tb-walk-heading" });
  const limit = Math.max(3, Math.ceil(Math.max(...firstQuery.flat().map(Math.abs))));
  const sliders = Array.from({ length: D }, (_, d) => {
    const input = make("input", { type: "range", min: -limit, max: limit, step: STEP });
    const output = make("output");
    return { input, output, node: make("div", { class: "tb-control" }, make("label", {}, `q${SUBSCRIPTS[d]}`, input), output) };
  });
  const reset = make("button", { type: "button" }, "reset Q");
  const root = make(
    "div",
    { class: "tb-root tb-walk", role: "group", "aria-label": "Matrix walk: attention cell by cell" },
    make(
      "div",
      { class: "tb-controls" },
      make("div", { class: "tb-choice" }, ...switches),
      make("span", { class: "tb-muted" }, "Point at a cell; click to keep it. Numbers are rounded."),
    ),
    make("div", { class: "tb-walk-blocks" }, block("key", "query", "scores"), block("value", "weights", "output")),
    sum,
    make(
      "div",
      { class: "tb-walk-query", role: "group", "aria-label": "Chosen row of Q" },
      heading,
      ...sliders.map((slider) => slider.node),
      reset,
    ),
  );

  const longest = Math.max(...[...queryLabels, ...keyLabels].map((text) => text.length));
  const label = Math.min(8 * longest + 8, MOST_LABEL); // a longer name is cut short; its full text is the title

  /** Both products side by side where there is room, else one below the other, else every matrix alone. */
  function arrange(width) {
    const [keys, depth, values] = [S, D, Dv].map((count) => Math.max(count, 2)); // the style's least width
    const room = Math.floor((width - label - 2 * GAP - BETWEEN) / (depth + 2 * keys + values));
    const halfRoom = Math.floor((width - label - GAP) / (keys + Math.max(depth, values)));
    const fullRoom = Math.floor((width - label) / Math.max(S, D, Dv));
    const [layout, cell] =
      room >= LEAST_CELL ? ["side", room] : halfRoom >= LEAST_CELL ? ["block", halfRoom] : ["single", fullRoom];
    root.dataset.layout = layout;
    root.style.setProperty("--cell", `${Math.min(cell, MOST_CELL)}px`);
  }
  root.style.setProperty("--label", `${label}px`);
  root.style.setProperty("--gap", `${GAP}px`);
  root.style.setProperty("--between", `${BETWEEN}px`);
  const resized = new ResizeObserver((entries) => arrange(entries[0].contentRect.width));
  resized.observe(root);

  let hovered = null; // the cell under the mouse, shown until the mouse leaves; not part of the model
  let now = null;

  function kept() {
    const matrix = model.get("matrix");
    const last = matrix === "output" ? Dv - 1 : S - 1;
    return { matrix, row: model.get("row"), column: Math.min(model.get("column"), last) };
  }

  function keep(cell) {
    const before = kept();
    if (cell.matrix === before.matrix && cell.row === before.row && cell.column === before.column) return;
    for (const [name, part] of Object.entries(cell)) model.set(name, part);
    model.save_changes();
  }

  function compute() {
    now = attention(model.get("query"), key, value, model.get("masked") ? mask : [], model.get("scaled"));
    const query = model.get("query");
    const fill = (of, read) =>
      grids[of].cells.forEach((row, i) =>
        row.forEach((cell, j) => {
          const text = read(i, j);
          if (cell.textContent !== text) cell.textContent = text;
        }),
      );
    fill("query", (i, d) => short(query[i][d]));
    fill("key", (d, j) => short(key[j][d]));
    fill("value", (j, c) => short(value[j][c]));
    fill("scores", (i, j) => (now.allowed[i][j] ? short(now.scores[i][j]) : "−∞"));
    fill("weights", (i, j) => short(now.weights[i][j]));
    fill("output", (i, c) => short(now.output[i][c]));
    for (const of of pointable) {
      grids[of].cells.forEach((row, i) =>
        row.forEach((cell, j) => {
          const place = of === "output" ? `number ${j}` : `key ${keyLabels[j]}`;
          put(cell, "aria-label", `${of}, query ${queryLabels[i]}, ${place}: ${cell.textContent}`);
          if (of === "output") return;
          cell.classList.toggle("barred", !now.allowed[i][j]);
          if (of !== "weights") return;
          cell.classList.toggle("share", now.allowed[i][j]);
          put(cell, "style", `--share: ${(45 * now.weights[i][j]).toFixed(1)}%`);
        }),
      );
    }
    grids.scores.title.textContent = model.get("scaled") ? `scores = Q Kᵀ / √${D}` : "scores = Q Kᵀ";
    grids.weights.title.textContent = "weights = softmax";
    grids.output.title.textContent = "output = weights · V";
    scaledInput.checked = model.get("scaled");
    maskedInput.checked = model.get("masked");
    show();
  }

  /** Light up what the shown cell is made of and write its arithmetic. */
  function show() {
    const { matrix, row, column } = hovered ?? kept();
    const fixed = kept();
    const lit = {
      query: (i) => i === row,
      key: (_, j) => matrix === "output" || j === column,
      value: (_, c) => matrix === "output" && c === column,
      scores: (i) => matrix !== "scores" && i === row,
      weights: (i) => matrix === "output" && i === row,
      output: () => false,
    };
    for (const [of, grid] of Object.entries(grids)) {
      grid.cells.forEach((line, i) =>
        line.forEach((cell, j) => {
          const chosen = of === matrix && i === row && j === column;
          cell.classList.toggle("lit", chosen || lit[of](i, j));
          cell.classList.toggle("chosen", chosen);
          if (!pointable.includes(of)) return;
          put(cell, "aria-selected", of === fixed.matrix && i === fixed.row && j === fixed.column);
          // One stop of the Tab key per matrix: the kept cell, or the start of its row.
          put(cell, "tabindex", i === fixed.row && j === (of === fixed.matrix ? fixed.column : 0) ? 0 : -1);
        }),
      );
    }
    sum.replaceChildren(...explain(matrix, row, column));
    heading.textContent = `Query ${queryLabels[fixed.row]}: drag its row of Q`;
    sliders.forEach(({ input, output }, d) => {
      const x = model.get("query")[fixed.row][d];
      input.value = x;
      input.setAttribute("aria-valuetext", x.toFixed(2));
      output.textContent = short(x);
    });
  }

  /** @returns {HTMLElement[]} one paragraph for each step */
  function explain(matrix, i, j) {
    const part = (of, x) => make("span", { "data-of": of }, x < 0 && short(x) !== "0.00" ? `(${short(x)})` : short(x));
    const joined = (terms, sign) => terms.flatMap((term, n) => (n === 0 ? term : [sign, ...term]));
    const equals = (x) => make("strong", { class: "tb-walk-result" }, `= ${short(x)}`);
    const result = (x) => make("strong", {}, short(x));
    const query = model.get("query")[i];
    const to = (k) => `query ${queryLabels[i]} and key ${keyLabels[k]}`;

    if (matrix === "output") {
      const blend = joined(
        now.weights[i].map((p, k) => [part("weights", p), " · ", part("value", value[k][j])]),
        " + ",
      );
      const shares = joined(
        now.weights[i].map((p, k) => [part("weights", p), ` to ${keyLabels[k]}`]),
        ", ",
      );
      return [
        make("p", {}, `Query ${queryLabels[i]} gives weight `, ...shares, "."),
        make("p", {}, `Number ${j} of its output = `, ...blend, " ", equals(now.output[i][j])),
      ];
    }

    const products = joined(
      query.map((x, d) => [part("query", x), " · ", part("key", key[j][d])]),
      " + ",
    );
    const division = model.get("scaled")
      ? [" = ", short(now.products[i][j]), `; divided by √${D}: `, result(now.scores[i][j])]
      : [" ", equals(now.scores[i][j])];
    const steps = [make("p", {}, `Score of ${to(j)} = `, ...products, ...division)];
    if (!now.allowed[i][j]) {
      steps.push(make("p", {}, `The mask bars query ${queryLabels[i]} from key ${keyLabels[j]}: the score becomes −∞, the weight `, result(0), "."));
    } else if (matrix === "weights") {
      const power = (k) => ["e", make("sup", {}, short(now.scores[i][k]))];
      const others = keyLabels.map((_, k) => k).filter((k) => now.allowed[i][k]);
      steps.push(
        make("p", {}, "Weight = ", ...power(j), " / (", ...joined(others.map(power), " + "), ") ", equals(now.weights[i][j])),
      );
    }
    return steps;
  }

  function cellOf(event) {
    const cell = event.target.closest?.(".tb-walk-cell[tabindex]");
    if (!cell) return null;
    const [row, column] = cell.dataset.at.split(",").map(Number);
    return { matrix: cell.dataset.of, row, column };
  }

  root.addEventListener("pointerover", (event) => {
    const before = hovered;
    hovered = cellOf(event);
    if (before || hovered) show();
  });
  root.addEventListener("pointerleave", () => {
    hovered = null;
    show();
  });
  root.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (cell) keep(cell);
  });
  root.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    if (cell) keep(cell);
  });
  root.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    const lastColumn = grids[cell.matrix].cells[0].length - 1;
    const target = {
      ArrowUp: [Math.max(cell.row - 1, 0), cell.column],
      ArrowDown: [Math.min(cell.row + 1, T - 1), cell.column],
      ArrowLeft: [cell.row, Math.max(cell.column - 1, 0)],
      ArrowRight: [cell.row, Math.min(cell.column + 1, lastColumn)],
      Home: [cell.row, 0],
      End: [cell.row, lastColumn],
    }[event.key];
    if (!target) return;
    event.preventDefault();
    event.stopPropagation(); // in JupyterLab the arrow keys would also move between notebook cells
    hovered = null;
    grids[cell.matrix].cells[target[0]][target[1]].focus();
  });
  sliders.forEach(({ input }, d) =>
    input.addEventListener("input", () => {
      const query = model.get("query").map((line) => [...line]); // a new list: a changed old one goes unnoticed
      query[model.get("row")][d] = Number(input.value);
      model.set("query", query);
      model.save_changes();
    }),
  );
  reset.addEventListener("click", () => {
    model.set("query", firstQuery);
    model.save_changes();
  });
  scaledInput.addEventListener("change", () => {
    model.set("scaled", scaledInput.checked);
    model.save_changes();
  });
  maskedInput.addEventListener("change", () => {
    model.set("masked", maskedInput.checked);
    model.save_changes();
  });

  const listeners = { query: compute, scaled: compute, masked: compute, matrix: show, row: show, column: show };
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  for (const of of pointable) grids[of].cells.flat().forEach((cell) => (cell.tabIndex = -1));
  compute();
  el.append(root);
  return () => {
    for (const [name, listener] of Object.entries(listeners)) model.off(`change:${name}`, listener);
    resized.disconnect();
    root.remove();
  };
}

export default { render };
