// Gradient through time. Arithmetic first, as pure functions that are tested against the Python package; then the view.
import { make } from "./_elements.js";

/** @typedef {"rnn" | "gru" | "lstm"} Cell */
/** @typedef {{weight_ih_l0: number[][], weight_hh_l0: number[][], bias_ih_l0: number[], bias_hh_l0: number[]}} Weights */

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const times = (matrix, vector) => matrix.map((row) => row.reduce((sum, w, j) => sum + w * vector[j], 0));

/** One step and its Jacobian; a state is the hidden vector, in an LSTM followed by the cell. */
const STEPS = {
  rnn(x, state, w, bias) {
    const sums = times(w, state).map((sum, i) => Math.tanh(x[i] + sum + bias[i]));
    return { state: sums, jacobian: w.map((row, i) => row.map((v) => (1 - sums[i] ** 2) * v)) };
  },
  gru(x, state, w, bias) {
    const d = state.length;
    const sums = times(w, state).map((sum, i) => sum + bias[i]);
    const next = [];
    const jacobian = [];
    for (let i = 0; i < d; i += 1) {
      const r = sigmoid(x[i] + sums[i]);
      const z = sigmoid(x[d + i] + sums[d + i]);
      const n = Math.tanh(x[2 * d + i] + r * sums[2 * d + i]);
      next.push((1 - z) * n + z * state[i]);
      const row = [];
      for (let j = 0; j < d; j += 1) {
        const candidate = r * w[2 * d + i][j] + sums[2 * d + i] * r * (1 - r) * w[i][j];
        const kept = i === j ? z : 0;
        row.push(kept + (state[i] - n) * z * (1 - z) * w[d + i][j] + (1 - z) * (1 - n * n) * candidate);
      }
      jacobian.push(row);
    }
    return { state: next, jacobian };
  },
  lstm(x, state, w, bias) {
    const d = state.length / 2;
    const sums = times(w, state.slice(0, d)).map((sum, i) => x[i] + sum + bias[i]);
    const hidden = [];
    const cell = [];
    const top = [];
    const bottom = [];
    for (let i = 0; i < d; i += 1) {
      const [take, forget, show] = [sigmoid(sums[i]), sigmoid(sums[d + i]), sigmoid(sums[3 * d + i])];
      const candidate = Math.tanh(sums[2 * d + i]);
      const old = state[d + i];
      const now = forget * old + take * candidate;
      const shown = Math.tanh(now);
      cell.push(now);
      hidden.push(show * shown);
      const inCell = [];
      const inHidden = [];
      for (let j = 0; j < d; j += 1) {
        inCell.push(
          old * forget * (1 - forget) * w[d + i][j] +
            candidate * take * (1 - take) * w[i][j] +
            take * (1 - candidate ** 2) * w[2 * d + i][j],
        );
        inHidden.push(shown * show * (1 - show) * w[3 * d + i][j] + show * (1 - shown ** 2) * inCell[j]);
      }
      for (let j = 0; j < d; j += 1) {
        inCell.push(i === j ? forget : 0);
        inHidden.push(i === j ? show * (1 - shown ** 2) * forget : 0);
      }
      bottom.push(inCell);
      top.push(inHidden);
    }
    return { state: [...hidden, ...cell], jacobian: [...top, ...bottom] };
  },
};

/**
 * What is left of a gradient by distance, 0 … length: ‖∂h_T/∂s_{T−k}‖ (Frobenius) over the root of the width.
 * @param {Cell} cell @param {Weights} weights @param {number[][]} inputs length + 1 of them @param {number} scale
 * @returns {number[]}
 */
export function profile(cell, weights, inputs, scale) {
  const d = weights.weight_hh_l0[0].length;
  const w = weights.weight_hh_l0.map((row) => row.map((v) => scale * v));
  let state = new Array(cell === "lstm" ? 2 * d : d).fill(0);
  const jacobians = [];
  for (const input of inputs) {
    const x = times(weights.weight_ih_l0, input).map((sum, i) => sum + weights.bias_ih_l0[i]);
    const step = STEPS[cell](x, state, w, weights.bias_hh_l0);
    state = step.state;
    jacobians.push(step.jacobian);
  }
  const size = state.length;
  let product = Array.from({ length: d }, (_, i) => Array.from({ length: size }, (_, j) => (i === j ? 1 : 0)));
  const left = [1];
  for (let t = inputs.length - 1; t > 0; t -= 1) {
    const factor = jacobians[t];
    product = product.map((row) =>
      Array.from({ length: size }, (_, j) => row.reduce((sum, v, k) => sum + v * factor[k][j], 0)),
    );
    left.push(Math.sqrt(product.reduce((sum, row) => sum + row.reduce((s, v) => s + v * v, 0), 0) / d));
  }
  return left;
}

/** Factor per step: e to the slope of the least-squares line through the logarithms, from distance 1. @param {number[]} left */
export function stepFactor(left) {
  const y = left.slice(1).map(Math.log);
  const xMean = (y.length + 1) / 2;
  const yMean = y.reduce((sum, v) => sum + v, 0) / y.length;
  let above = 0;
  let below = 0;
  y.forEach((v, i) => {
    above += (i + 1 - xMean) * (v - yMean);
    below += (i + 1 - xMean) ** 2;
  });
  return Math.exp(above / below);
}

/** A number in words a page can show: 0.21, 3 × 10⁻⁷. @param {number} x */
export function short(x) {
  if (x >= 0.01 && x < 1000) return x >= 100 ? x.toFixed(0) : x.toPrecision(2);
  const [digits, power] = x.toExponential(0).split("e");
  const raised = String(Number(power)).replace(/./g, (c) => ({ "-": "⁻" })[c] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]);
  return `${digits} × 10${raised}`;
}

const CELLS = [
  { value: "rnn", name: "simple RNN" },
  { value: "gru", name: "GRU" },
  { value: "lstm", name: "LSTM" },
];

// Sizes in SVG units, about one CSS pixel each.
const WIDTH = 380;
const LEFT = 46;
const RIGHT = 292;
const TOP = 12;
const BASE = 206;
const LOW = -12;
const HIGH = 6;

const height = (value) => {
  const power = Math.max(LOW, Math.min(HIGH, Math.log10(value)));
  return BASE - ((power - LOW) / (HIGH - LOW)) * (BASE - TOP);
};

function verdict(factor, last, length) {
  const rest = `after ${length} steps ${short(last)} of it is left`;
  if (factor > 1.03) return `The gradient explodes: ${rest}.`;
  if (factor > 0.93) return `The gradient lasts: ${rest}.`;
  return `The gradient vanishes: ${rest}.`;
}

function render({ model, el }) {
  const scaleInput = make("input", { type: "range", min: 0.2, max: 3, step: 0.05 });
  const scaleOutput = make("output");
  const lengthInput = make("input", { type: "range", min: 5, max: 60, step: 1 });
  const lengthOutput = make("output");
  const group = `tb-cell-${Math.random().toString(36).slice(2)}`; // two widgets on one page must not share radios
  const radios = CELLS.map((cell) => make("input", { type: "radio", name: group, value: cell.value }));
  const grid = [-12, -9, -6, -3, 0, 3, 6].flatMap((power) => {
    const y = height(10 ** power);
    const label = power === 0 ? "1" : `10${String(power).replace("-", "⁻").replace(/\d/g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])}`;
    return [
      make("line", { x1: LEFT, x2: RIGHT, y1: y, y2: y, class: power === 0 ? "axis" : "grid" }),
      make("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, label),
    ];
  });
  const ticks = [0, 0.5, 1].map(() => make("text", { y: BASE + 18, "text-anchor": "middle" }));
  const caption = make("text", { x: (LEFT + RIGHT) / 2, y: BASE + 36, "text-anchor": "middle" }, "steps back");
  const paths = CELLS.map(() => make("path", { class: "curve" }));
  const names = CELLS.map((cell) => make("text", { x: RIGHT + 8 }, cell.name));
  const here = make("circle", { class: "here", r: 5 });
  const svg = make(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${BASE + 42}`, "aria-hidden": "true" },
    ...grid,
    ...ticks,
    caption,
    ...paths,
    ...names,
    here,
  );
  const reading = make("span", { class: "tb-number" });
  const figure = make(
    "figure",
    { class: "tb-time-chart" },
    make("figcaption", {}, make("span", {}, "‖∂h_T / ∂s_t‖, by distance"), reading),
    svg,
  );
  const says = make("p", { class: "tb-time-says", "aria-live": "polite" });
  const root = make(
    "div",
    { class: "tb-root tb-time", role: "group", "aria-label": "Gradient through time: what is left by distance" },
    make(
      "div",
      { class: "tb-controls" },
      make(
        "div",
        { class: "tb-control tb-time-scale" },
        make("label", {}, "recurrent weights ×", scaleInput),
        scaleOutput,
      ),
      make("div", { class: "tb-control tb-time-length" }, make("label", {}, "steps", lengthInput), lengthOutput),
      make(
        "div",
        { class: "tb-choice", role: "radiogroup", "aria-label": "layer" },
        ...CELLS.map((cell, i) => make("label", {}, radios[i], cell.name)),
      ),
    ),
    figure,
    says,
  );

  function update() {
    const scale = model.get("scale");
    const length = model.get("length");
    const chosen = CELLS.findIndex((cell) => cell.value === model.get("cell"));
    const inputs = model.get("inputs").slice(0, length + 1);
    const lefts = CELLS.map(({ value }) => profile(value, model.get("layers")[value], inputs, scale));
    const x = (k) => LEFT + (k / length) * (RIGHT - LEFT);
    lefts.forEach((left, i) => {
      paths[i].setAttribute("d", `M${left.map((v, k) => `${x(k).toFixed(1)} ${height(v).toFixed(1)}`).join("L")}`);
      paths[i].setAttribute("class", `curve ${CELLS[i].value}${i === chosen ? " chosen" : ""}`);
      names[i].setAttribute("class", `${CELLS[i].value}${i === chosen ? " chosen" : ""}`);
    });
    // Names stand at the ends of their curves, at least a line of text apart, and inside the drawing.
    const ends = lefts.map((left, i) => ({ i, y: height(left[length]) })).sort((a, b) => a.y - b.y);
    ends.forEach((end, rank) => {
      if (rank > 0) end.y = Math.max(end.y, ends[rank - 1].y + 15);
    });
    const over = Math.max(0, ends[ends.length - 1].y - BASE);
    ends.forEach((end) => names[end.i].setAttribute("y", end.y - over + 4));
    ticks.forEach((tick, i) => {
      const k = Math.round((i / 2) * length);
      tick.setAttribute("x", x(k));
      tick.textContent = k;
    });
    svg.append(paths[chosen], here);
    here.setAttribute("cx", x(length));
    here.setAttribute("cy", height(lefts[chosen][length]));
    here.setAttribute("class", `here ${CELLS[chosen].value}`);
    const factor = stepFactor(lefts[chosen]);
    scaleInput.value = scale;
    scaleOutput.textContent = scale.toFixed(2);
    lengthInput.value = length;
    lengthOutput.textContent = length;
    radios[chosen].checked = true;
    reading.textContent = `× ${factor.toFixed(2)} a step`;
    says.textContent =
      `${CELLS[chosen].name}, recurrent weights × ${scale.toFixed(2)}: a factor of ${factor.toFixed(2)} a step. ` +
      verdict(factor, lefts[chosen][length], length);
  }

  function send(name, value) {
    model.set(name, value);
    model.save_changes();
  }
  scaleInput.addEventListener("input", () => send("scale", Number(scaleInput.value)));
  lengthInput.addEventListener("input", () => send("length", Number(lengthInput.value)));
  radios.forEach((radio) => radio.addEventListener("change", () => send("cell", radio.value)));

  const listened = ["scale", "length", "cell"];
  for (const name of listened) model.on(`change:${name}`, update);
  update();
  el.append(root);
  return () => {
    for (const name of listened) model.off(`change:${name}`, update);
    root.remove();
  };
}

export default { render };
