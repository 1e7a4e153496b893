// Live Transformer. Its arithmetic stands in _transformer.js; here is what the picture needs, and then the view.
import { inWords, problemOf, sourcesOf, visible } from "./_dates.js";
import { make, makeTyped } from "./_elements.js";
import { answer, logSoftmax, makeNetwork, mapOf, readOut } from "./_transformer.js";

const SPECIAL = 3; // padding, start and end come before the symbols
const FINISH = 2;
const MOST_WRITTEN = 11; // characters of a date, and the end
const SLICE = 8; // ms of work before the page has its turn
const PAUSE = 700; // ms from character to character while it plays
const LEAST_SHARE = 0.005; // a probability worth a number
const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const NOTHING_BROKEN = { mask: false, scale: false, positions: false, removed: [] };

/** A probability for people; near one its distance from one counts. @param {number} x @returns {string} */
export function share(x) {
  if (x >= 0.99995) return "over 99.99%";
  return x > 0.99 ? `${(100 * x).toFixed(2)}%` : `${(100 * x).toFixed(x < 0.1 ? 1 : 0)}%`;
}

/** What there is to say about what was written, as a date. @param {string} text @returns {string} */
export function verdictOf(text) {
  const found = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
  if (!found) return "That is not of the form year-month-day.";
  const [year, month, day] = found.slice(1).map(Number);
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return "No calendar has that day: the model knows characters, not calendars.";
  return `That day is a ${WEEKDAYS[date.getUTCDay()]}.`;
}

/** Which nodes of the beam's tree lead to the answer: by step the rank of the one that does. @param {object[][]} tree @returns {number[]} */
export function pathOf(tree) {
  let rank = 0;
  return tree
    .map((_, i) => {
      const level = tree[tree.length - 1 - i];
      const here = rank;
      rank = level[rank].parent;
      return here;
    })
    .reverse();
}

const said = (symbol) => (symbol === " " ? "a space" : `“${symbol}”`);
const fixed = (x) => {
  const text = Math.abs(x).toFixed(2);
  return x < 0 && Number(text) > 0 ? `−${text}` : text;
};
const KINDS = { encoder: "encoder self-attention", decoder: "decoder self-attention", cross: "cross-attention" };

function render({ model, el }) {
  const packed = model.get("network");
  const symbols = model.get("symbols");
  const { num_encoder_layers: encoders, num_decoder_layers: decoders, num_heads: heads } = packed.config;
  const unique = `tb-live-${Math.random().toString(36).slice(2)}`; // two widgets on one page must not share radios
  const nameOf = (id) => (id === FINISH ? "⊣" : id === 0 ? "∅" : symbols[id]);

  // --- What is asked
  const typed = makeTyped("A date", { dir: "auto", maxlength: 200 }, read);
  const choose = make("select", {}, make("option", { value: "" }, "choose …"), ...model.get("examples").map(([lang, name, text]) => make("option", { value: text, lang }, name)));
  const beam = make("select", {}, ...[1, 2, 3, 4, 5].map((size) => make("option", { value: size }, size === 1 ? "1 (greedy)" : String(size))));
  const penalty = make("input", { type: "range", min: 0, max: 2, step: 0.1 });
  const penaltyText = make("output");
  const control = (label, ...parts) => make("div", { class: "tb-control" }, make("label", {}, label, parts[0]), ...parts.slice(1));

  // --- What is read and written
  const sourceLine = make("div", { class: "tb-live-tape tb-live-source", role: "radiogroup", "aria-label": "characters read: choose one to follow in the encoder", dir: "ltr" });
  const targetLine = make("div", { class: "tb-live-tape tb-live-target", role: "radiogroup", "aria-label": "characters written: choose one to look at" });
  const verdict = make("p", { class: "tb-live-verdict" });
  const button = (text) => make("button", { type: "button" }, text);
  const [rewind, back, play, on] = ["Rewind", "Back", "Play", "Step"].map(button);
  const count = make("output");

  // --- Break it
  const switches = Object.entries({ no_mask: "no causal mask", no_scale: "no scaling by √K", no_positions: "no positions" }).map(([trait, label]) => {
    const box = make("input", { type: "checkbox" });
    box.addEventListener("change", () => send(trait, box.checked));
    return { trait, box, node: make("label", {}, box, label), name: label };
  });
  const without = make("input", { type: "checkbox" });
  const withoutName = make("span");
  const mend = button("Mend all");
  const compare = make("p", { class: "tb-live-compare" });

  // --- The panels
  const bars = symbols.map((_, id) => {
    const number = make("small");
    const column = make("div", { class: "tb-live-bar" }, number, make("i"), make("b", {}, visible(nameOf(id))));
    return { column, number };
  });
  const shownBars = [...bars.keys()].filter((id) => id >= FINISH).sort((a, b) => (a === FINISH) - (b === FINISH));
  const barsTitle = make("p", { class: "tb-live-title" });
  const tree = make("div", { class: "tb-live-tree" });
  const beginnings = make("ol", { class: "tb-live-beginnings" });

  const maps = [];
  const mapBlock = (kind, depth) => {
    const rows = Array.from({ length: depth }, (_, layer) => {
      const cells = Array.from({ length: heads }, (__, head) => {
        const name = `${kind}-${layer + 1}-${head + 1}`;
        const radio = make("input", { type: "radio", name: `${unique}-head`, value: name, "aria-label": `${KINDS[kind]}, layer ${layer + 1}, head ${head + 1}` });
        radio.addEventListener("change", () => send("pinned", name));
        const canvas = make("canvas", { "aria-hidden": "true" });
        const frame = make("i", { "aria-hidden": "true" });
        const node = make("label", { class: "tb-live-map" }, radio, canvas, frame);
        maps.push({ kind, layer, head, name, radio, canvas, frame, node });
        return node;
      });
      return make("div", { class: "tb-live-layer" }, make("span", {}, `${layer + 1}`), ...cells);
    });
    return make("div", { class: "tb-live-kind" }, make("p", {}, KINDS[kind]), ...rows);
  };
  const mapBlocks = make("div", { class: "tb-live-kinds", role: "radiogroup", "aria-label": "heads: choose one to pin" }, mapBlock("encoder", encoders), mapBlock("decoder", decoders), mapBlock("cross", decoders));
  const large = make("canvas", { "aria-hidden": "true" });
  const largeTitle = make("p", { class: "tb-live-title" });
  const looks = make("p", { class: "tb-live-looks" });
  const picture = make("figure", {}, large, make("figcaption", { class: "tb-muted" }, "Rows: who looks; columns: at what. Framed: the character chosen. The stronger the colour, the larger the weight (as its root)."));

  const streamOf = (names, lens) => {
    const rows = names.map((name) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      const [size, guess] = [make("span", { class: "tb-number" }), make("span", { class: "tb-live-guess" })];
      return { canvas, size, guess, nodes: [make("span", {}, name), canvas, size, ...(lens ? [guess] : [])] };
    });
    const heading = make("p");
    const head = ["", "", "norm", ...(lens ? ["says"] : [])].map((text) => make("small", {}, text));
    const node = make("div", { class: `tb-live-stream${lens ? " lens" : ""}` }, ...head, ...rows.flatMap(({ nodes }) => nodes));
    return { rows, heading, node: make("div", { class: "tb-live-half" }, heading, node) };
  };
  const each = (depth, parts) => Array.from({ length: depth }, (_, layer) => parts.map((part) => `+ ${part} ${layer + 1}`)).flat();
  const encoderStream = streamOf(["embedded", ...each(encoders, ["attention", "feed-fwd"])], false);
  const decoderStream = streamOf(["embedded", ...each(decoders, ["attention", "cross", "feed-fwd"])], true);

  const says = make("p", { class: "tb-live-says", "aria-live": "polite" });
  const panel = (name, ...children) => make("section", { class: `tb-live-panel tb-live-${name}` }, ...children);
  const stage = make(
    "div",
    { class: "tb-live-stage" },
    make("div", { class: "tb-live-line" }, make("span", {}, "reads"), sourceLine),
    make("div", { class: "tb-live-line" }, make("span", {}, "writes"), targetLine),
    verdict,
    make("div", { class: "tb-controls tb-live-transport" }, rewind, back, play, on, count),
    make("div", { class: "tb-live-break" }, make("fieldset", {}, make("legend", {}, "Break it:"), ...switches.map(({ node }) => node), make("label", {}, without, withoutName)), make("div", { class: "tb-controls" }, mend, compare)),
    make(
      "div",
      { class: "tb-live-panels" },
      panel("next", barsTitle, make("div", { class: "tb-live-bars", "aria-hidden": "true" }, ...shownBars.map((id) => bars[id].column))),
      panel("beam", make("p", { class: "tb-live-title" }, "The beam"), make("div", { class: "tb-controls" }, control("size", beam), control("length penalty α", penalty, penaltyText)), tree, beginnings),
      panel("heads", make("p", { class: "tb-live-title" }, "Where every head looks"), make("p", { class: "tb-muted" }, "One row of pictures for each layer; choose a head to see it large."), mapBlocks),
      panel("pinned", largeTitle, looks, picture),
      panel("residual", make("p", { class: "tb-live-title" }, "The residual stream"), make("p", { class: "tb-muted" }, "One strip a stop, one cell a coordinate; blue positive, warm negative. “Says”: what the model would write if it stopped there."), make("div", { class: "tb-live-halves" }, encoderStream.node, decoderStream.node)),
    ),
  );
  const root = make(
    "div",
    // In JupyterLab the arrow keys would go to the next cell instead of the next character.
    { class: "tb-root tb-live", role: "group", "data-lm-suppress-shortcuts": "true", "aria-label": "Live Transformer: a trained model reads a date in this page and writes it" },
    make("div", { class: "tb-live-ask" }, typed.control, control("or one in", choose)),
    typed.problem,
    stage,
    says,
  );

  let source = [];
  let done = null; // what the model, as it is now, has made of the source
  let whole = null; // what the whole model makes of it; null where nothing is broken
  let pending = null;
  let timer = null;
  let [room, treeRoom] = [0, 0];
  let colours = null;

  function send(name, value) {
    model.set(name, value);
    model.save_changes();
  }
  function read(text) {
    const problem = problemOf(packed.source_symbols, text);
    root.classList.toggle("stale", problem !== "");
    if (problem === "") send("text", text);
    return problem && `${problem} Below is still what the model makes of “${model.get("text")}”.`;
  }
  const what = () => ({ mask: model.get("no_mask"), scale: model.get("no_scale"), positions: model.get("no_positions"), removed: model.get("removed") });
  const isBroken = ({ mask, scale, positions, removed }) => mask || scale || positions || removed.length > 0;
  const stepNow = () => Math.min(model.get("step"), done.ids.length - 1);
  const placeNow = () => Math.min(model.get("place"), source.length - 1);
  const pinnedMap = () => maps.find(({ name }) => name === model.get("pinned"));
  const gapOf = (columns) => Math.max(22, (treeRoom || 320) / columns);
  const textOf = (ids) => ids.filter((id) => id >= SPECIAL).map((id) => symbols[id]).join("");
  function halt() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  /** The work of an answer, in slices: typing comes first. */
  function compute() {
    clearTimeout(pending);
    typed.show(model.get("text"));
    root.classList.remove("stale");
    source = [...sourcesOf(model.get("text"))[0]];
    const ids = source.map((character) => packed.source_symbols.indexOf(character) + SPECIAL);
    const settings = [ids, model.get("beam"), MOST_WRITTEN, model.get("penalty")];
    const work = (function* () {
      const now = yield* answer(makeNetwork(packed, what()), ...settings);
      return [now, isBroken(what()) ? yield* answer(makeNetwork(packed, NOTHING_BROKEN), ...settings) : null];
    })();
    root.setAttribute("aria-busy", "true");
    const slice = () => {
      const until = performance.now() + SLICE;
      do {
        const { done: finished, value } = work.next();
        if (finished) {
          [done, whole] = value;
          root.setAttribute("aria-busy", "false");
          return arrange();
        }
      } while (performance.now() < until);
      pending = setTimeout(slice);
    };
    slice();
  }

  /** Everything that depends on the text and the answer. */
  function arrange() {
    const radio = (kind, i, character, name) => {
      const input = make("input", { type: "radio", name: `${unique}-${kind}`, value: i, "aria-label": name });
      input.addEventListener("change", () => {
        halt();
        send(kind, i);
      });
      return make("label", {}, input, make("b", {}, visible(character)), make("small"));
    };
    sourceLine.replaceChildren(...source.map((character, s) => radio("place", s, character, `${character === " " ? "space" : character}, character ${s + 1} of ${source.length} read`)));
    targetLine.replaceChildren(
      ...done.ids.map((id, t) => {
        const node = radio("step", t, nameOf(id), `${id === FINISH ? "end" : nameOf(id)}, character ${t + 1} of ${done.ids.length} written`);
        node.classList.toggle("differs", whole !== null && whole.ids[t] !== id);
        const probability = Math.exp(logSoftmax(done.passes[t].logits)[id]);
        node.style.setProperty("--sure", `${(100 * probability).toFixed(1)}%`);
        return node;
      }),
    );
    const text = textOf(done.ids);
    verdict.textContent = `${verdictOf(text)} The model gives what it wrote a probability of ${share(Math.exp(done.total))}.`;
    const { removed } = what();
    mend.disabled = whole === null;
    for (const { trait, box } of switches) box.checked = model.get(trait);
    const taken = [...switches.filter(({ trait }) => model.get(trait)).map(({ name }) => name), ...removed.map((name) => `no head ${name}`)];
    compare.replaceChildren();
    if (whole !== null) {
      const before = textOf(whole.ids);
      compare.append(`With ${taken.join(", ")} it writes `, make("b", {}, text || "nothing"), before === text ? ", as the whole model does." : "; the whole model writes ", before === text ? "" : make("b", {}, before), before === text ? "" : ".");
    }
    beam.value = model.get("beam");
    penalty.value = model.get("penalty");
    penaltyText.textContent = Number(model.get("penalty")).toFixed(1);
    drawTree();
    show();
  }

  function drawTree() {
    const path = pathOf(done.tree);
    const columns = done.tree.length + 1;
    const [gap, line] = [gapOf(columns), 40];
    const high = done.tree.reduce((most, level) => Math.max(most, level.length), 1) * line;
    const numbers = gap >= 32;
    const [x, y] = [(t) => gap * (t + 0.5), (rank) => line * rank + 15];
    const parts = [make("rect", { class: "here", y: 0, width: gap, height: high, rx: 4 })];
    const nodes = [make("g", { class: "node best" }, make("circle", { cx: x(0), cy: y(0), r: 11 }), make("text", { x: x(0), y: y(0) + 5 }, "⊢"))];
    done.tree.forEach((level, t) => {
      level.forEach(({ parent, token, score }, rank) => {
        const onPath = path[t] === rank;
        const goesOn = t + 1 === done.tree.length || done.tree[t + 1].some((next) => next.parent === rank);
        const state = onPath ? "best" : goesOn ? "kept" : "dropped";
        parts.push(make("line", { class: state, x1: x(t), y1: y(parent), x2: x(t + 1), y2: y(rank) }));
        const letter = token === 0 ? "·" : visible(nameOf(token));
        const node = make("g", { class: `node ${state}` }, make("circle", { cx: x(t + 1), cy: y(rank), r: 11 }), make("text", { x: x(t + 1), y: y(rank) + 5 }, letter));
        if (numbers) node.append(make("text", { class: "score", x: x(t + 1), y: y(rank) + 22 }, score > -0.05 ? "0" : `−${(-score).toFixed(1)}`));
        nodes.push(node);
      });
    });
    tree.replaceChildren(make("svg", { "aria-hidden": "true", viewBox: `0 0 ${gap * columns} ${high}`, width: gap * columns, height: high }, ...parts, ...nodes));
  }

  /** Everything that depends on the character, the place and the head chosen. */
  function show() {
    const [t, s, pinned] = [stepNow(), placeNow(), pinnedMap()];
    const id = done.ids[t];
    [...targetLine.children].forEach((node, i) => {
      node.firstChild.checked = i === t;
      node.classList.toggle("lit", i === t);
      node.classList.toggle("later", i > t);
    });
    [...sourceLine.children].forEach((node, i) => {
      node.firstChild.checked = i === s;
      node.classList.toggle("lit", i === s);
    });
    rewind.disabled = back.disabled = t === 0;
    on.disabled = t === done.ids.length - 1;
    if (on.disabled) halt();
    count.textContent = `character ${t + 1} of ${done.ids.length}`;

    const probabilities = logSoftmax(done.passes[t].logits).map(Math.exp);
    barsTitle.textContent = `Character ${t + 1}, per cent`;
    bars.forEach(({ column, number }, v) => {
      column.style.setProperty("--share", probabilities[v].toFixed(4));
      column.classList.toggle("chosen", v === id);
      number.textContent = probabilities[v] >= LEAST_SHARE ? Math.round(100 * probabilities[v]) : "";
    });

    const gap = gapOf(done.tree.length + 1);
    tree.querySelector(".here").setAttribute("x", gap * (t + 1));
    const level = done.tree[Math.min(t, done.tree.length - 1)];
    beginnings.replaceChildren(
      ...level.map(({ ids, score, total }) => make("li", {}, make("b", {}, ids.slice(1).filter((token) => token !== 0).map((token) => visible(nameOf(token))).join("")), make("span", {}, `score ${fixed(score)}`), make("span", {}, `log p ${fixed(total)}`))),
    );

    for (const { name, radio, node } of maps) {
      radio.checked = name === pinned.name;
      node.classList.toggle("lit", name === pinned.name);
      node.classList.toggle("removed", model.get("removed").includes(name));
    }
    const rows = mapOf(done, pinned.kind, pinned.layer, pinned.head, t);
    const place = pinned.kind === "encoder" ? s : Math.min(t, rows.length - 1);
    const fed = ["⊢", ...done.ids.slice(0, -1).map(nameOf)];
    const keys = pinned.kind === "decoder" ? fed : source;
    const weights = [...rows[place]];
    [...sourceLine.children].forEach((node, i) => node.style.setProperty("--share", pinned.kind === "decoder" ? "0" : Math.sqrt(weights[i] ?? 0).toFixed(3)));
    const title = `${KINDS[pinned.kind]}, layer ${pinned.layer + 1}, head ${pinned.head + 1}`;
    largeTitle.textContent = `Pinned: ${title}`;
    const gone = model.get("removed").includes(pinned.name);
    without.checked = gone;
    withoutName.textContent = `no head ${pinned.name}`;
    const who = pinned.kind === "encoder" ? `The position that reads ${said(source[s])}, character ${s + 1},` : `The position that writes ${id === FINISH ? "the end" : said(nameOf(id))}, character ${t + 1},`;
    looks.textContent = `${who} looks ${inWords(keys.slice(0, weights.length), weights)}.${gone ? " But this head is removed: nothing of it is written into the stream." : ""}`;

    encoderStream.heading.textContent = `encoder, at ${said(source[s])}, character ${s + 1}`;
    decoderStream.heading.textContent = `decoder, about to write ${id === FINISH ? "the end" : said(nameOf(id))}`;
    const net = makeNetwork(packed, what());
    decoderStream.rows.forEach(({ guess }, i) => {
      const chances = logSoftmax(readOut(net, done.passes[t].stops[i])).map(Math.exp);
      const best = chances.indexOf(Math.max(...chances));
      guess.textContent = `${visible(nameOf(best))} ${Math.round(100 * chances[best])}%`;
      guess.classList.toggle("right", best === id);
    });
    paint();
    says.textContent = `Reads “${source.join("")}”, ${source.length} characters, and writes ${textOf(done.ids) || "nothing"}.${whole === null ? "" : ` Something is taken out; whole, the model writes ${textOf(whole.ids) || "nothing"}.`} Character ${t + 1}: ${id === FINISH ? "the end" : said(nameOf(id))}, ${share(probabilities[id])}. Head ${pinned.name}: ${looks.textContent}`;
  }

  /** A picture of one pixel a number, which the style sheet enlarges. @param {(at: number) => number} pixel by its place, as ABGR */
  function paintPixels(canvas, width, height, pixel) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let at = 0; at < pixels.length; at += 1) pixels[at] = pixel(at);
    context.putImageData(image, 0, 0);
  }
  const inked = (colour, strength) => ((255 * strength) << 24) | colour;

  /** Cells of one colour, as strong as the root of their weights. */
  function paintMap(canvas, rows, height, width) {
    paintPixels(canvas, width, height, (at) => inked(colours.weight, Math.sqrt(rows[Math.floor(at / width)]?.[at % width] ?? 0)));
  }

  function paintStrip(canvas, vector, largest) {
    paintPixels(canvas, vector.length, 1, (d) => inked(vector[d] < 0 ? colours.key : colours.query, Math.abs(vector[d]) / largest));
  }

  function readColours() {
    const style = getComputedStyle(root);
    const context = make("canvas").getContext("2d");
    const bytes = (name) => {
      context.fillStyle = style.getPropertyValue(`--w-${name}`).trim();
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(context.fillStyle.slice(at, at + 2), 16));
      return (blue << 16) | (green << 8) | red;
    };
    colours = Object.fromEntries(["weight", "query", "key"].map((name) => [name, bytes(name)]));
    for (const name of ["ink", "muted", "accent"]) colours[name] = style.getPropertyValue(`--w-${name}`);
    colours.cell = style.getPropertyValue("--w-weight");
  }

  function paint() {
    if (!done) return;
    if (!colours) readColours();
    const [t, s, pinned] = [stepNow(), placeNow(), pinnedMap()];
    const length = done.ids.length;
    for (const { kind, layer, head, canvas, frame } of maps) {
      const [high, wide] = kind === "encoder" ? [source.length, source.length] : [length, kind === "cross" ? source.length : length];
      paintMap(canvas, mapOf(done, kind, layer, head, t), high, wide);
      frame.style.top = `${(100 * (kind === "encoder" ? s : t)) / high}%`;
      frame.style.height = `${100 / high}%`;
    }
    paintLarge(t, s, pinned);
    const streams = [
      [encoderStream, done.memory.stops.map((stop) => stop[s])],
      [decoderStream, done.passes[t].stops],
    ];
    for (const [{ rows }, stops] of streams) {
      const largest = Math.max(...stops.map((stop) => Math.max(...stop.map(Math.abs))));
      stops.forEach((stop, i) => {
        paintStrip(rows[i].canvas, stop, largest);
        rows[i].size.textContent = Math.hypot(...stop).toFixed(1);
      });
    }
  }

  /** The pinned head, with its characters. */
  function paintLarge(t, s, { kind, layer, head }) {
    const rows = mapOf(done, kind, layer, head, t);
    const written = done.ids.map(nameOf);
    const fed = ["⊢", ...written.slice(0, -1)];
    const across = kind === "decoder" ? fed : source;
    const down = kind === "encoder" ? source : written;
    const [label, top, scale] = [26, 22, 2];
    const cell = Math.min(26, (Math.max(room, 240) - label - 1) / across.length);
    const tall = Math.min(22, Math.max(cell, 10));
    const [wide, high] = [label + cell * across.length + 1, top + tall * down.length + 1];
    large.width = wide * scale;
    large.height = high * scale;
    large.style.width = `${wide}px`;
    large.style.height = `${high}px`;
    const context = large.getContext("2d");
    context.scale(scale, scale);
    context.textAlign = "center";
    context.textBaseline = "middle";
    const chosen = kind === "encoder" ? s : t;
    const line = rows[Math.min(chosen, rows.length - 1)];
    context.font = `${Math.min(15, Math.max(11, cell * 1.1))}px ui-monospace, "Noto Sans Mono CJK SC", monospace`;
    across.forEach((symbol, k) => {
      if (cell < 9 && !(line[k] > 0.1)) return; // no room for all of them
      context.fillStyle = line[k] > 0.05 ? colours.ink : colours.muted;
      context.fillText(visible(symbol), label + cell * (k + 0.5), top / 2);
    });
    context.font = `${Math.min(15, tall * 1.05)}px ui-monospace, "Noto Sans Mono CJK SC", monospace`;
    down.forEach((symbol, i) => {
      context.fillStyle = i === chosen ? colours.ink : colours.muted;
      context.fillText(visible(symbol), label / 2, top + tall * (i + 0.5));
    });
    context.fillStyle = colours.cell;
    rows.forEach((weights, i) => {
      weights.forEach((weight, k) => {
        context.globalAlpha = Math.sqrt(weight);
        context.fillRect(label + cell * k, top + tall * i, cell - (cell > 8 ? 1 : 0), tall - 1);
      });
    });
    context.globalAlpha = 1;
    context.strokeStyle = colours.accent;
    context.lineWidth = 1.5;
    context.strokeRect(label - 1, top + tall * chosen - 1, cell * across.length + 1, tall + 1);
  }

  choose.addEventListener("change", () => {
    if (choose.value !== "") send("text", choose.value);
  });
  beam.addEventListener("change", () => send("beam", Number(beam.value)));
  penalty.addEventListener("input", () => send("penalty", Number(penalty.value)));
  without.addEventListener("change", () => {
    const [name, others] = [model.get("pinned"), model.get("removed").filter((other) => other !== model.get("pinned"))];
    send("removed", without.checked ? [...others, name] : others);
  });
  mend.addEventListener("click", () => {
    for (const { trait } of switches) model.set(trait, false);
    send("removed", []);
  });
  const go = (t) => send("step", Math.max(0, Math.min(done.ids.length - 1, t)));
  rewind.addEventListener("click", () => {
    halt();
    go(0);
  });
  back.addEventListener("click", () => {
    halt();
    go(stepNow() - 1);
  });
  on.addEventListener("click", () => {
    halt();
    go(stepNow() + 1);
  });
  play.addEventListener("click", () => {
    if (timer !== null) return halt();
    if (stepNow() === done.ids.length - 1) go(0);
    play.textContent = "Pause";
    timer = setInterval(() => go(stepNow() + 1), PAUSE);
  });

  const listeners = { step: show, place: show, pinned: show };
  for (const name of ["text", "beam", "penalty", "no_mask", "no_scale", "no_positions", "removed"]) listeners[name] = compute;
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  el.append(root);
  compute();
  // A canvas takes its size and its colours when it is painted: again when either changes.
  const placed = new ResizeObserver(() => {
    const before = [room, treeRoom];
    [room, treeRoom] = [picture.clientWidth, tree.clientWidth];
    if (!done || (room === before[0] && treeRoom === before[1])) return; // only their heights have changed
    drawTree();
    show();
  });
  for (const node of [picture, tree]) placed.observe(node);
  const watcher = new MutationObserver(() => {
    colours = null;
    paint();
  });
  for (const node of [document.documentElement, document.body]) watcher.observe(node, { attributes: true });
  return () => {
    halt();
    clearTimeout(pending);
    placed.disconnect();
    watcher.disconnect();
    for (const [name, listener] of Object.entries(listeners)) model.off(`change:${name}`, listener);
    root.remove();
  };
}

export default { render };
