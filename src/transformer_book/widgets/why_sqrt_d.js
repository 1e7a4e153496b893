// Why √d. Arithmetic first, as pure functions that are tested against the Python package; then the view.
import { make } from "./_elements.js";

/** @typedef {"none" | "sqrt" | "d"} Scale */

/** What q·k is divided by. @param {Scale} scale @param {number} width @returns {number} */
export function divisor(scale, width) {
  return { none: 1, sqrt: Math.sqrt(width), d: width }[scale];
}

/** Weights from scores. @param {number[]} scores @returns {number[]} */
export function softmax(scores) {
  const largest = Math.max(...scores);
  const exps = scores.map((score) => Math.exp(score - largest));
  const total = exps.reduce((sum, x) => sum + x, 0);
  return exps.map((x) => x / total);
}

/** Entropy in bits: 0 for one key only, log2 S for all alike. @param {number[]} weights @returns {number} */
export function entropyBits(weights) {
  return weights.reduce((sum, p) => sum - (p > 0 ? p * Math.log2(p) : 0), 0);
}

/** Frobenius norm of softmax's Jacobian diag(p) − p pᵀ. @param {number[]} weights @returns {number} */
export function jacobianNorm(weights) {
  // Entry by entry: the closed form Σp² − 2Σp³ + (Σp²)² cancels to noise where one weight is nearly 1.
  let total = 0;
  weights.forEach((p, i) => {
    weights.forEach((q, j) => {
      total += (i === j ? p * (1 - p) : p * q) ** 2;
    });
  });
  return Math.sqrt(total);
}

/** Standard deviation, dividing by the count. @param {number[]} numbers @returns {number} */
export function standardDeviation(numbers) {
  const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  return Math.sqrt(numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / numbers.length);
}

/**
 * Everything the view shows of one setting.
 * @param {number[]} products q·k for the keys in use @param {Scale} scale @param {number} width
 */
export function measure(products, scale, width) {
  const scores = products.map((product) => product / divisor(scale, width));
  const weights = softmax(scores);
  return {
    scores,
    weights,
    spread: standardDeviation(scores),
    entropy: entropyBits(weights),
    gradient: jacobianNorm(weights),
  };
}

const SCALES = [
  { value: "none", name: "nothing", said: "not divided", label: "q·k" },
  { value: "sqrt", name: "√d", said: "divided by √d", label: "q·k / √d" },
  { value: "d", name: "d", said: "divided by d", label: "q·k / d" },
];

// Size of a chart in SVG units, about one CSS pixel each.
const WIDTH = 320;
const HEIGHT = 150;
const TOP = 18;
const BASE = 126;
const EDGE = 16; // scores at or beyond ±EDGE share the last bars
const MAX_KEYS = 64;

function horizontal(y, left, right, kind) {
  return make("line", { x1: left, x2: right, y1: y, y2: y, class: kind });
}

function chart(title, ...shapes) {
  const reading = make("span", { class: "tb-number" });
  // The figures say in words what the drawing shows; a reader of the page by ear needs no drawing.
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" }, ...shapes);
  return { reading, figure: make("figure", {}, make("figcaption", {}, make("span", {}, title), reading), svg) };
}

/** Bars for the scores, one per whole number; the fullest bar reaches the top. */
function scoreChart() {
  const slot = WIDTH / (2 * EDGE + 1);
  const bars = Array.from({ length: 2 * EDGE + 1 }, (_, i) =>
    make("rect", { class: "score", x: i * slot + 0.75, width: slot - 1.5, y: TOP, height: BASE - TOP }),
  );
  const ticks = [
    ["≤ −16", 0, "start"],
    ["−8", -8, "middle"],
    ["0", 0, "middle"],
    ["8", 8, "middle"],
    ["≥ 16", WIDTH, "end"],
  ].map(([text, at, anchor]) => {
    const x = anchor === "middle" ? (at + EDGE + 0.5) * slot : at;
    return make("text", { x, y: BASE + 17, "text-anchor": anchor }, text);
  });
  const most = make("text", { x: 0, y: TOP - 5 });
  const title = make("span");
  const view = chart(title, most, horizontal(TOP, 0, WIDTH, "grid"), ...bars, horizontal(BASE, 0, WIDTH, "axis"), ...ticks);
  return {
    figure: view.figure,
    update(now, label) {
      const counts = new Array(bars.length).fill(0);
      for (const score of now.scores) counts[Math.round(Math.max(-EDGE, Math.min(EDGE, score))) + EDGE] += 1;
      const fullest = Math.max(...counts);
      bars.forEach((bar, i) => {
        bar.style.transform = `scaleY(${counts[i] / fullest})`;
      });
      most.textContent = `${fullest} keys`;
      title.textContent = `Scores ${label}`;
      view.reading.textContent = `standard deviation ${now.spread.toFixed(2)}`;
    },
  };
}

/** One bar per key. */
function weightChart() {
  const left = 22;
  const bars = Array.from({ length: MAX_KEYS }, () => make("rect", { class: "weight", y: TOP, height: BASE - TOP }));
  const even = horizontal(BASE, left, WIDTH, "even");
  const evenText = make("text", { x: WIDTH, "text-anchor": "end" });
  const levels = [
    ["0", 0],
    ["½", 0.5],
    ["1", 1],
  ].flatMap(([text, level]) => {
    const y = BASE - level * (BASE - TOP);
    return [
      horizontal(y, left, WIDTH, level === 0 ? "axis" : "grid"),
      make("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, text),
    ];
  });
  const caption = make("text", { x: (left + WIDTH) / 2, y: BASE + 17, "text-anchor": "middle" });
  const view = chart("Weights", ...levels, ...bars, even, caption);
  return {
    figure: view.figure,
    update(now) {
      const count = now.weights.length;
      const slot = (WIDTH - left) / count;
      bars.forEach((bar, i) => {
        bar.setAttribute("x", left + Math.min(i, count) * slot + slot * 0.12);
        bar.setAttribute("width", i < count ? slot * 0.76 : 0);
        bar.style.transform = `scaleY(${now.weights[i] ?? 0})`;
      });
      const y = BASE - (BASE - TOP) / count;
      even.setAttribute("y1", y);
      even.setAttribute("y2", y);
      caption.textContent = `keys 1 … ${count}; dashed: even shares of 1/${count}`;
      view.reading.textContent = `largest ${Math.max(...now.weights).toFixed(2)}`;
    },
  };
}

/** One quantity against d, a curve for each scale. */
function trendChart(title, widths, levels, read) {
  const left = 26;
  const right = 252;
  const x = (width) => left + (Math.log2(width) / Math.log2(widths[widths.length - 1])) * (right - left);
  const paths = SCALES.map(() => make("path", { class: "curve" }));
  const names = SCALES.map((scale) =>
    make("text", { x: right + 8 }, scale.value === "none" ? "nothing" : `÷ ${scale.name}`),
  );
  const lines = levels(1).map(() => horizontal(0, left, right, "grid"));
  const marks = levels(1).map(() => make("text", { x: left - 6, "text-anchor": "end" }));
  const here = make("circle", { class: "here", r: 5.5 });
  const ticks = [1, 8, 64, 512, 4096].map((width) =>
    make("text", { x: x(width), y: BASE + 17, "text-anchor": "middle" }, String(width)),
  );
  const unit = make("text", { x: right + 24, y: BASE + 17, "font-style": "italic" }, "d");
  const view = chart(title, ...lines, ...marks, ...ticks, unit, ...paths, ...names, here);
  const group = here.parentNode;
  let y = () => BASE;
  return {
    figure: view.figure,
    /** New keys: draw all three curves. */
    redraw(curves, numKeys) {
      const marked = levels(numKeys);
      const top = marked[marked.length - 1].level;
      y = (value) => BASE - (value / top) * (BASE - TOP);
      marked.forEach(({ level, text }, i) => {
        lines[i].setAttribute("y1", y(level));
        lines[i].setAttribute("y2", y(level));
        lines[i].setAttribute("class", level === 0 ? "axis" : "grid");
        marks[i].setAttribute("y", y(level) + 4);
        marks[i].textContent = text;
      });
      paths.forEach((path, i) => {
        const points = curves[i].map((now, j) => `${x(widths[j]).toFixed(1)} ${y(read(now)).toFixed(1)}`);
        path.setAttribute("d", `M${points.join("L")}`);
      });
      // Names stand at the ends of their curves, at least a line of text apart.
      const ends = curves.map((curve, i) => ({ i, y: y(read(curve[curve.length - 1])) })).sort((a, b) => a.y - b.y);
      ends.forEach((end, rank) => {
        if (rank > 0) end.y = Math.max(end.y, ends[rank - 1].y + 15);
      });
      ends.forEach((end) => names[end.i].setAttribute("y", end.y + 4));
    },
    update(now, width, chosen, reading) {
      paths.forEach((path, i) => path.setAttribute("class", i === chosen ? "curve chosen" : "curve"));
      names.forEach((name, i) => name.setAttribute("class", i === chosen ? "chosen" : ""));
      group.append(paths[chosen], here);
      here.setAttribute("cx", x(width));
      here.setAttribute("cy", y(read(now)));
      view.reading.textContent = reading;
    },
  };
}

function verdict(now) {
  const share = now.entropy / Math.log2(now.weights.length);
  if (share > 0.97) return "The weights are almost even: which key fits the query hardly matters.";
  if (share < 0.35) return "The softmax has collapsed onto very few keys, and little gradient passes.";
  return "Some keys are preferred, none takes all, and gradient passes.";
}

function render({ model, el }) {
  const widths = model.get("widths");
  const draws = model.get("products").length;

  const widthInput = make("input", { type: "range", min: 0, max: widths.length - 1, step: 1 });
  const widthOutput = make("output");
  const keysInput = make("input", { type: "range", min: 8, max: MAX_KEYS, step: 1 });
  const keysOutput = make("output");
  const group = `tb-scale-${Math.random().toString(36).slice(2)}`; // two widgets on one page must not share radios
  const radios = SCALES.map((scale) => make("input", { type: "radio", name: group, value: scale.value }));
  const drawButton = make("button", { type: "button" });
  const scores = scoreChart();
  const weights = weightChart();
  const entropy = trendChart(
    "Entropy of the weights",
    widths,
    (numKeys) => [
      { level: 0, text: "0" },
      { level: Math.log2(numKeys) / 2, text: (Math.log2(numKeys) / 2).toFixed(1) },
      { level: Math.log2(numKeys), text: Math.log2(numKeys).toFixed(1) },
    ],
    (now) => now.entropy,
  );
  const gradient = trendChart(
    "Gradient through softmax",
    widths,
    () => [
      { level: 0, text: "0" },
      { level: 0.25, text: "¼" },
      { level: 0.5, text: "½" },
    ],
    (now) => now.gradient,
  );
  const says = make("p", { class: "tb-why-says", "aria-live": "polite" });
  const root = make(
    "div",
    { class: "tb-root tb-why", role: "group", "aria-label": "Why √d: scores, weights, entropy and gradient by width" },
    make(
      "div",
      { class: "tb-controls" },
      make(
        "div",
        { class: "tb-control tb-why-width" },
        make("label", {}, "width d", widthInput),
        widthOutput,
      ),
      make(
        "div",
        { class: "tb-choice", role: "radiogroup", "aria-label": "divide q·k by" },
        "divide by",
        ...SCALES.map((scale, i) => make("label", {}, radios[i], scale.name)),
      ),
      make("div", { class: "tb-control tb-why-keys" }, make("label", {}, "keys", keysInput), keysOutput),
      drawButton,
    ),
    make("div", { class: "tb-why-charts" }, scores.figure, weights.figure, entropy.figure, gradient.figure),
    says,
  );

  let curves = [];
  function remeasure() {
    const products = model.get("products")[model.get("draw")];
    const count = model.get("num_keys");
    curves = SCALES.map((scale) =>
      widths.map((width, i) => measure(products[i].slice(0, count), scale.value, width)),
    );
    entropy.redraw(curves, count);
    gradient.redraw(curves, count);
    update();
  }

  function update() {
    const width = model.get("width");
    const stop = widths.indexOf(width);
    const chosen = SCALES.findIndex((scale) => scale.value === model.get("scale"));
    const now = curves[chosen][stop];
    const count = now.weights.length;
    const most = Math.log2(count).toFixed(2);
    widthInput.value = stop;
    widthInput.setAttribute("aria-valuetext", `d = ${width}`);
    widthOutput.textContent = width;
    keysInput.value = count;
    keysOutput.textContent = count;
    radios[chosen].checked = true;
    drawButton.textContent = `new draw (${model.get("draw") + 1} of ${draws})`;
    scores.update(now, SCALES[chosen].label);
    weights.update(now);
    entropy.update(now, width, chosen, `${now.entropy.toFixed(2)} of ${most} bits`);
    gradient.update(now, width, chosen, `norm ${now.gradient.toFixed(3)}`);
    says.textContent =
      `d = ${width}, scores ${SCALES[chosen].said}: the largest of ${count} weights is ` +
      `${Math.max(...now.weights).toFixed(2)}, the entropy ${now.entropy.toFixed(2)} of ${most} bits, ` +
      `the gradient ${now.gradient.toFixed(3)}. ${verdict(now)}`;
  }

  function send(name, value) {
    model.set(name, value);
    model.save_changes();
  }
  widthInput.addEventListener("input", () => send("width", widths[Number(widthInput.value)]));
  keysInput.addEventListener("input", () => send("num_keys", Number(keysInput.value)));
  radios.forEach((radio) => radio.addEventListener("change", () => send("scale", radio.value)));
  drawButton.addEventListener("click", () => send("draw", (model.get("draw") + 1) % draws));

  const listeners = { width: update, scale: update, num_keys: remeasure, draw: remeasure };
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  remeasure();
  el.append(root);
  return () => {
    for (const [name, listener] of Object.entries(listeners)) model.off(`change:${name}`, listener);
    root.remove();
  };
}

export default { render };
