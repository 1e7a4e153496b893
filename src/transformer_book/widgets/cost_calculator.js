// Cost calculator. Arithmetic first, the same as transformer_book.cost, tested against it; then the view.
import { make, makeTyped } from "./_elements.js";

export const PARTS = ["projections", "attention", "feed-forward", "norms", "readout"];
const TABLE_TRAFFIC = 10;
const TRAINING = 3;
const NUMBER_BYTES = { float32: 4, bfloat16: 2 };

/**
 * @typedef {object} State values of the widget's traits: d_model, num_heads, kv_heads, d_ff, layers, vocabulary,
 * source_vocabulary, encoder, style, tied, batch, length, source_length, mode, precision, fused, …
 */

/** Width of keys, and of values, of all heads together. @param {State} s */
function kvWidth(s) {
  return s.kv_heads * (s.d_model / s.num_heads);
}

/** What the model is to do: one token after the cached ones in writing. @param {State} s */
export function loadOf(s) {
  const writing = s.mode === "writing";
  return {
    batch: s.batch,
    length: writing ? 1 : s.length,
    source: s.encoder ? s.source_length : 0,
    cached: writing ? s.length : 0,
  };
}

function product(part, m, n, k) {
  return { part, flops: 2 * m * n * k, moved: m * k + k * n + m * n, kind: "product" };
}

function around(s, tokens) {
  return { part: "norms", flops: 0, moved: 5 * tokens * s.d_model, kind: "numbers" };
}

function attentionWork(s, batch, queries, newKeys, keys) {
  const size = s.d_model / s.num_heads;
  const table = batch * s.num_heads * queries * keys;
  const ends = batch * (s.num_heads * queries + s.kv_heads * keys) * size;
  return [
    product("projections", batch * queries, s.d_model, s.d_model),
    product("projections", batch * newKeys, kvWidth(s), s.d_model),
    product("projections", batch * newKeys, kvWidth(s), s.d_model),
    { part: "attention", flops: 2 * table * size, moved: ends, kind: "product" },
    { part: "attention", flops: 0, moved: 2 * table, kind: "table" },
    { part: "attention", flops: 0, moved: TABLE_TRAFFIC * table, kind: "table" },
    { part: "attention", flops: 2 * table * size, moved: ends, kind: "product" },
    product("projections", batch * queries, s.d_model, s.d_model),
    around(s, batch * queries),
  ];
}

function matrices(s) {
  return s.style === "llama" ? 3 : 2;
}

function feedForwardWork(s, tokens) {
  const into = Array.from({ length: matrices(s) - 1 }, () => product("feed-forward", tokens, s.d_ff, s.d_model));
  const bend = { part: "feed-forward", flops: 0, moved: (2 * matrices(s) - 2) * tokens * s.d_ff, kind: "numbers" };
  return [...into, bend, product("feed-forward", tokens, s.d_model, s.d_ff), around(s, tokens)];
}

/** All steps of a forward pass, each with how often it happens. @param {State} s @returns {Array<[object, number]>} */
function work(s) {
  const { batch, length, source, cached } = loadOf(s);
  const steps = [];
  const add = (layer) => layer.forEach((step) => steps.push([step, s.layers]));
  if (s.encoder && !cached) add([...attentionWork(s, batch, source, source, source), ...feedForwardWork(s, batch * source)]);
  add(attentionWork(s, batch, length, length, cached + length));
  if (s.encoder) add(attentionWork(s, batch, length, cached ? 0 : source, source));
  add(feedForwardWork(s, batch * length));
  return [...steps, [product("readout", batch * length, s.vocabulary, s.d_model), 1]];
}

/** Parameters, positions aside. @param {State} s @returns {number} */
export function parameters(s) {
  const [d, f, kv] = [s.d_model, s.d_ff, kvWidth(s)];
  const [encoder, cross, biases] = [s.encoder ? s.layers : 0, s.encoder ? 1 : 0, s.style === "paper" ? 1 : 0];
  const attentions = encoder + (1 + cross) * s.layers;
  const norms = 2 * encoder + (2 + cross) * s.layers + 1 + cross;
  const embedded = s.vocabulary + (s.encoder && !s.tied ? s.source_vocabulary : 0);
  return (
    attentions * (2 * d * d + 2 * d * kv + biases * (2 * d + 2 * kv)) +
    (encoder + s.layers) * (matrices(s) * d * f + biases * (f + d)) +
    embedded * d +
    (s.tied ? 0 : s.vocabulary * d) +
    biases * s.vocabulary +
    norms * (1 + biases) * d
  );
}

/** Bytes of keys and values after this load. @param {State} s @returns {number} */
export function cacheBytes(s) {
  const { batch, length, source, cached } = loadOf(s);
  return 2 * NUMBER_BYTES[s.precision] * s.layers * batch * (cached + length + source) * kvWidth(s);
}

/** Bytes kept for the backward pass; 0 unless it is a training step. @param {State} s @returns {number} */
export function activationBytes(s) {
  if (s.mode !== "training") return 0;
  const { batch, length, source } = loadOf(s);
  const d = s.d_model;
  const own = 6 * d + 2 * kvWidth(s) + s.d_ff * (s.style === "llama" ? 4 : 1) + 4;
  const scores = (queries, keys) => batch * s.num_heads * queries * (s.fused ? 1 : 3 * keys);
  let numbers = s.layers * (batch * length * own + scores(length, length));
  numbers += batch * length * (2 * d + 2 + s.vocabulary);
  let masks = s.layers * 2 * length * length;
  if (s.encoder) {
    numbers += s.layers * (batch * source * own + scores(source, source));
    numbers += batch * source * (2 * d + 2);
    numbers += s.layers * (batch * length * (4 * d + 2) + 2 * batch * source * kvWidth(s) + scores(length, source));
    masks += 2 * s.layers * 2 * batch * source;
  }
  return NUMBER_BYTES[s.precision] * numbers + (s.fused ? 0 : masks);
}

/**
 * Operations, least time and the share of it that waits for memory, part by part.
 * @param {State} s @param {number} peak operations per second @param {number} bandwidth bytes per second
 */
export function costs(s, peak, bandwidth) {
  const zeros = () => Object.fromEntries(PARTS.map((part) => [part, 0]));
  const [flops, seconds, waits] = [zeros(), zeros(), zeros()];
  const times = s.mode === "training" ? TRAINING : 1;
  for (const [step, often] of work(s)) {
    const moved = s.fused && step.kind === "table" ? 0 : NUMBER_BYTES[s.precision] * step.moved;
    const [arithmetic, memory] = [step.flops / peak, moved / bandwidth];
    flops[step.part] += times * often * step.flops;
    seconds[step.part] += times * often * Math.max(arithmetic, memory);
    if (memory > arithmetic) waits[step.part] += times * often * memory;
  }
  const share = Object.fromEntries(PARTS.map((part) => [part, seconds[part] ? waits[part] / seconds[part] : 0]));
  return { flops, seconds, share };
}

/** A number in three digits with a prefix: 1234567 → "1.23 M". @param {number} value @param {number} base */
export function short(value, base = 1000) {
  const prefixes = base === 1024 ? ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] : ["", "k", "M", "G", "T", "P", "E"];
  let step = 0;
  while (value >= base * (1 - 0.0005) && step < prefixes.length - 1) {
    value /= base;
    step += 1;
  }
  const text = value >= 999.5 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
  return prefixes[step] ? `${text} ${prefixes[step]}` : `${text} `;
}

/** A duration in three digits. @param {number} seconds @returns {string} */
export function duration(seconds) {
  const [unit, size] = seconds >= 86400 ? ["days", 86400] : seconds >= 3600 ? ["h", 3600] : seconds >= 1 ? ["s", 1] : seconds >= 1e-3 ? ["ms", 1e-3] : ["µs", 1e-6];
  const value = seconds / size;
  return `${value >= 999.5 ? value.toFixed(0) : Number(value.toPrecision(3))} ${unit}`;
}

/** All divisors of a number up to a limit, ascending. @param {number} number @param {number} limit */
export function divisors(number, limit) {
  return Array.from({ length: Math.min(number, limit) }, (_, i) => i + 1).filter((i) => number % i === 0);
}

/** Place of the stop that is nearest by ratio. @param {number[]} stops ascending @param {number} value */
export function nearest(stops, value) {
  let best = 0;
  stops.forEach((stop, i) => {
    if (Math.abs(Math.log(stop / value)) < Math.abs(Math.log(stops[best] / value))) best = i;
  });
  return best;
}

const powers = (from, to, parts = 1) =>
  Array.from({ length: (to - from) * parts + 1 }, (_, i) => Math.round(2 ** (from + i / parts)));
const WIDTHS = [16, 32, 64, 96, 128, 192, 256, 384, 512, 576, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384];
const LAYERS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 30, 32, 40, 48, 64, 80, 96, 128];
const RATIOS = Array.from({ length: 22 }, (_, i) => (i + 3) / 3); // 1, 4/3, … 8
const LENGTHS = [...new Set(powers(0, 17, 2))];
const VOCABULARIES = powers(4, 18, 2);
const BATCHES = powers(0, 12);
const MOST_HEADS = 128;

const MODES = [
  { value: "training", name: "training step", said: "A training step on" },
  { value: "reading", name: "forward pass", said: "A forward pass over" },
  { value: "writing", name: "one token, cached", said: "One more token after" },
];
const ROLES = { projections: "key", attention: "accent", "feed-forward": "query", norms: "muted", readout: "value" };
const WIDE = 600;

const NAMES = [
  "d_model", "num_heads", "kv_heads", "d_ff", "layers", "vocabulary", "source_vocabulary", "encoder", "style",
  "tied", "batch", "length", "source_length", "mode", "precision", "fused", "machine", "peak", "bandwidth",
];

/** One bar cut into parts. */
function bar(title) {
  const reading = make("span", { class: "tb-number" });
  const pieces = PARTS.map((part) => make("rect", { class: ROLES[part], y: 0, height: 26 }));
  const labels = PARTS.map(() => make("text", { y: 18, "text-anchor": "middle" }));
  const svg = make("svg", { viewBox: `0 0 ${WIDE} 26`, "aria-hidden": "true" }, ...pieces, ...labels);
  return {
    figure: make("figure", {}, make("figcaption", {}, make("span", {}, title), reading), svg),
    update(values, text) {
      reading.textContent = text;
      const total = PARTS.reduce((sum, part) => sum + values[part], 0);
      let left = 0;
      PARTS.forEach((part, i) => {
        const width = (WIDE * values[part]) / total;
        pieces[i].setAttribute("x", left);
        pieces[i].setAttribute("width", Math.max(0, width - 2));
        labels[i].setAttribute("x", left + width / 2);
        labels[i].textContent = width > 44 ? `${Math.round((100 * values[part]) / total)} %` : "";
        left += width;
      });
    },
  };
}

function render({ model, el }) {
  const group = Math.random().toString(36).slice(2); // two widgets on one page must not share radios
  const state = () => Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  function send(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  }

  function radios(legend, name, choices) {
    const inputs = choices.map(({ value }) => make("input", { type: "radio", name: `${name}-${group}`, value }));
    inputs.forEach((input) => input.addEventListener("change", () => send({ [name]: input.value })));
    const labels = choices.map((choice, i) => make("label", {}, inputs[i], choice.name));
    const set = make("fieldset", {}, make("legend", {}, legend), ...labels);
    return { set, show: (value) => inputs.forEach((input) => (input.checked = input.value === value)) };
  }

  function checkbox(text, read, write) {
    const input = make("input", { type: "checkbox" });
    input.addEventListener("change", () => send(write(input.checked)));
    return { label: make("label", {}, input, text), show: (s) => (input.checked = read(s)) };
  }

  /** A dial over stops, which may depend on the state. */
  function dial(text, stops, read, write, said = (s) => read(s).toLocaleString("en")) {
    const input = make("input", { type: "range", min: 0, step: 1 });
    const output = make("output");
    input.addEventListener("input", () => send(write(stops(state())[Number(input.value)], state())));
    const control = make("div", { class: "tb-control" }, make("label", {}, make("span", { class: "tb-cost-key" }, text), input), output);
    function show(s) {
      const own = stops(s);
      input.max = own.length - 1;
      input.value = nearest(own, read(s));
      input.disabled = own.length === 1;
      output.textContent = said(s);
      input.setAttribute("aria-valuetext", output.textContent);
    }
    return { control, show };
  }

  /** Heads that fit a width, as near as can be to those there are. */
  function withWidth(width, s) {
    const heads = divisors(width, MOST_HEADS);
    const num_heads = heads[nearest(heads, s.num_heads)];
    return { d_model: width, d_ff: Math.round((s.d_ff / s.d_model) * width), ...withHeads(num_heads, s) };
  }
  function withHeads(num_heads, s) {
    const shared = divisors(num_heads, MOST_HEADS);
    return { num_heads, kv_heads: shared[nearest(shared, (s.kv_heads / s.num_heads) * num_heads)] };
  }

  const simple = (name) => [(s) => s[name], (value) => ({ [name]: value })];
  const dials = [
    dial("length", () => LENGTHS, ...simple("length")),
    dial("source length", () => LENGTHS, ...simple("source_length")),
    dial("batch", () => BATCHES, ...simple("batch")),
    dial("width", () => WIDTHS, (s) => s.d_model, withWidth),
    dial("layers", () => LAYERS, (s) => s.layers, (layers) => ({ layers }), (s) => (s.encoder ? `${s.layers} + ${s.layers}` : String(s.layers))),
    dial("heads", (s) => divisors(s.d_model, MOST_HEADS), (s) => s.num_heads, withHeads),
    dial("key–value heads", (s) => divisors(s.num_heads, MOST_HEADS), ...simple("kv_heads")),
    dial("feed-forward ÷ width", () => RATIOS, (s) => s.d_ff / s.d_model, (ratio, s) => ({ d_ff: Math.round(ratio * s.d_model) }), (s) => `${Number((s.d_ff / s.d_model).toFixed(2))}`),
    dial("vocabulary", () => VOCABULARIES, ...simple("vocabulary")),
    dial("source vocabulary", () => VOCABULARIES, ...simple("source_vocabulary")),
  ];
  const [ofSource, ofSourceWords] = [dials[1].control, dials[9].control];

  const presets = model.get("presets");
  const select = make("select", { id: `model-${group}` }, make("option", { value: "" }, "your own"), ...presets.map(({ name }) => make("option", { value: name }, name)));
  select.addEventListener("change", () => {
    const { name, ...values } = presets.find((preset) => preset.name === select.value) ?? {};
    if (name) send(values);
    else update(); // there is nothing to dial: what is dialled keeps its name
  });
  select.addEventListener("keydown", (event) => event.stopPropagation());

  const mode = radios("what", "mode", MODES);
  const precision = radios("precision", "precision", [{ value: "float32", name: "float32" }, { value: "bfloat16", name: "bfloat16" }]);
  const machine = radios("machine", "machine", [{ value: "book", name: "the book's" }, { value: "own", name: "yours" }]);
  const boxes = [
    checkbox("encoder as well", (s) => s.encoder, (encoder) => ({ encoder })),
    checkbox("gated, no biases", (s) => s.style === "llama", (on) => ({ style: on ? "llama" : "paper" })),
    checkbox("tied matrices", (s) => s.tied, (tied) => ({ tied })),
    checkbox("fused attention", (s) => s.fused, (fused) => ({ fused })),
  ];
  function rate(label, name) {
    return makeTyped(label, { inputmode: "decimal" }, (text) => {
      const value = Number(text.replace(",", "."));
      if (!(text.trim() && value > 0 && value < 1e12)) return "expected a number above 0";
      send({ [name]: value });
      return "";
    });
  }
  const [peak, bandwidth] = [rate("GFLOP/s", "peak"), rate("GB/s", "bandwidth")];
  const typed = make("div", { class: "tb-controls" }, peak.control, bandwidth.control);
  const ofBook = make("p", { class: "tb-muted" });

  const bars = { flops: bar("Operations"), seconds: bar("Least time") };
  const cells = Object.fromEntries(PARTS.map((part) => [part, [make("td"), make("td"), make("td")]]));
  const swatch = (part) => make("svg", { viewBox: "0 0 12 12", class: "tb-cost-swatch", "aria-hidden": "true" }, make("rect", { class: ROLES[part], width: 12, height: 12 }));
  const head = make("tr", {}, ...["part", "operations", "least time", "of it memory"].map((name) => make("th", { scope: "col" }, name)));
  const rows = PARTS.map((part) => make("tr", {}, make("th", { scope: "row" }, swatch(part), part), ...cells[part]));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  const facts = ["parameters", "weights", "kept for the gradient", "keys and values"].map((name) => {
    const value = make("dd", { class: "tb-number" });
    return { value, pair: make("div", {}, make("dt", {}, name), value) };
  });
  const says = make("p", { class: "tb-cost-says", "aria-live": "polite" });
  const root = make(
    "div",
    { class: "tb-root tb-cost", role: "group", "aria-label": "Cost calculator: what a Transformer costs, by its sizes and its load" },
    make(
      "div",
      { class: "tb-controls" },
      make("div", { class: "tb-control" }, make("label", { for: select.id }, "model"), select),
      mode.set,
      precision.set,
      make("div", { class: "tb-choice" }, ...boxes.map(({ label }) => label)),
    ),
    make("div", { class: "tb-cost-dials" }, ...dials.map(({ control }) => control)),
    make("div", { class: "tb-controls" }, machine.set, typed),
    peak.problem,
    bandwidth.problem,
    ofBook,
    make("dl", {}, ...facts.map(({ pair }) => pair)),
    bars.flops.figure,
    bars.seconds.figure,
    table,
    says,
  );

  function update() {
    const s = state();
    const book = model.get("book");
    const own = s.machine === "own";
    const [flop, byte] = own ? [1e9 * s.peak, 1e9 * s.bandwidth] : [1e9 * book[s.precision], 1e9 * book.bandwidth];
    const { flops, seconds, share } = costs(s, flop, byte);
    const total = (values) => PARTS.reduce((sum, part) => sum + values[part], 0);
    const [allFlops, allSeconds] = [total(flops), total(seconds)];
    const waiting = PARTS.reduce((sum, part) => sum + seconds[part] * share[part], 0) / allSeconds;

    dials.forEach(({ show }) => show(s));
    boxes.forEach(({ show }) => show(s));
    mode.show(s.mode);
    precision.show(s.precision);
    machine.show(s.machine);
    ofSource.hidden = !s.encoder;
    ofSourceWords.hidden = !s.encoder || s.tied;
    typed.hidden = !own;
    peak.control.hidden = bandwidth.control.hidden = !own;
    if (!own || Number(peak.control.querySelector("input").value) !== s.peak) peak.show(String(s.peak));
    if (!own || Number(bandwidth.control.querySelector("input").value) !== s.bandwidth) bandwidth.show(String(s.bandwidth));
    ofBook.hidden = own;
    ofBook.textContent = `Measured on one thread of ${book.name.replace(/ \(.*\)$/, "")}: ${book[s.precision]} GFLOP/s in ${s.precision}, ${book.bandwidth} GB/s.`;
    const same = presets.find(({ name, ...values }) => Object.entries(values).every(([key, value]) => s[key] === value));
    select.value = same ? same.name : "";

    const count = parameters(s);
    const size = NUMBER_BYTES[s.precision];
    facts[0].value.textContent = short(count).trim();
    facts[1].value.textContent = `${short(size * count, 1024)}B`;
    facts[2].value.textContent = s.mode === "training" ? `${short(activationBytes(s), 1024)}B` : "nothing";
    facts[3].value.textContent = `${short(cacheBytes(s), 1024)}B`;
    bars.flops.update(flops, `${short(allFlops)}FLOP`);
    bars.seconds.update(seconds, duration(allSeconds));
    for (const part of PARTS) {
      const [ofFlops, ofTime, ofMemory] = cells[part];
      ofFlops.textContent = `${((100 * flops[part]) / allFlops).toFixed(1)} %`;
      ofTime.textContent = `${((100 * seconds[part]) / allSeconds).toFixed(1)} %`;
      ofMemory.textContent = `${Math.round(100 * share[part])} %`;
    }
    const largest = (values) => PARTS.reduce((best, part) => (values[part] > values[best] ? part : best), PARTS[0]);
    const intensity = allFlops / (allSeconds * flop);
    says.textContent =
      `${MODES.find(({ value }) => value === s.mode).said} ${s.batch.toLocaleString("en")} × ${s.length.toLocaleString("en")} tokens: ` +
      `most operations in ${largest(flops)}, most time in ${largest(seconds)}. ` +
      `${Math.round(100 * waiting)} % of the time waits for memory, so at best ${Math.round(100 * intensity)} % of the machine's arithmetic is used.`;
  }

  for (const name of NAMES) model.on(`change:${name}`, update);
  update();
  el.append(root);
  return () => {
    for (const name of NAMES) model.off(`change:${name}`, update);
    root.remove();
  };
}

export default { render };
