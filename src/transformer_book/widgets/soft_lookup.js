import { make } from "./_elements.js";

/** @typedef {"dot" | "scaled_dot" | "bilinear" | "additive"} Score */
/** @typedef {{ query: number[][], key: number[][], value: number[] }} Network the additive score's weights */

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

/**
 * Score of each key. Points get a constant third coordinate, 1.
 * @param {Score} score @param {number[]} query @param {number[][]} keys @param {number} turn degrees
 * @param {Network} network @returns {number[]}
 */
export function scoresOf(score, query, keys, turn, network) {
  let q = [...query, 1];
  if (score === "bilinear") {
    const angle = (turn * Math.PI) / 180;
    q = [Math.cos(angle) * q[0] - Math.sin(angle) * q[1], Math.sin(angle) * q[0] + Math.cos(angle) * q[1], 1];
  }
  const hidden = score === "additive" ? network.query.map((row) => dot(row, q)) : [];
  return keys.map((key) => {
    const k = [...key, 1];
    if (score !== "additive") return dot(q, k) / (score === "scaled_dot" ? Math.sqrt(3) : 1);
    return network.value.reduce((sum, v, f) => sum + v * Math.tanh(hidden[f] + dot(network.key[f], k)), 0);
  });
}

/** Weights from scores. @param {number[]} scores @returns {number[]} */
export function softmax(scores) {
  const largest = Math.max(...scores);
  const exps = scores.map((score) => Math.exp(score - largest));
  const total = exps.reduce((sum, x) => sum + x, 0);
  return exps.map((x) => x / total);
}

/** The values, here the keys' places, in the shares of the weights. @param {number[]} weights @param {number[][]} keys */
export function blend(weights, keys) {
  return [0, 1].map((axis) => keys.reduce((sum, key, i) => sum + weights[i] * key[axis], 0));
}

/** Number of the key with the largest score. @param {number[]} scores @returns {number} */
export function winner(scores) {
  return scores.indexOf(Math.max(...scores));
}

const EDGE = 2;
const SIZE = 320; // of the plane, in SVG units, about one CSS pixel each
const CELLS = 64; // of the map of winners, along each side
const STEP = 0.05;
const SCORES = [
  { value: "dot", name: "dot", said: "the dot product" },
  { value: "scaled_dot", name: "scaled dot", said: "the scaled dot product" },
  { value: "bilinear", name: "bilinear", said: "a bilinear score" },
  { value: "additive", name: "additive", said: "an additive score" },
];

const horizontal = (x) => ((x + EDGE) / (2 * EDGE)) * SIZE;
const vertical = (y) => ((EDGE - y) / (2 * EDGE)) * SIZE;
const nameOf = (index) => String.fromCharCode(65 + index);
const signed = (number) => number.toFixed(2).replace("-", "−");

/**
 * Border between the regions of different winners as a path, and a free place for the name of each winner.
 * @param {(point: number[]) => number} find @param {number[][]} keys
 */
function mapOfWinners(find, keys) {
  const middle = (i) => -EDGE + ((i + 0.5) * 2 * EDGE) / CELLS;
  const wins = Array.from({ length: CELLS }, (_, row) =>
    Array.from({ length: CELLS }, (_, column) => find([middle(column), -middle(row)])),
  );
  const side = SIZE / CELLS;
  const border = [];
  const regions = new Map();
  wins.forEach((line, row) => {
    line.forEach((key, column) => {
      if (column + 1 < CELLS && line[column + 1] !== key) border.push(`M${(column + 1) * side} ${row * side}v${side}`);
      if (row + 1 < CELLS && wins[row + 1][column] !== key) border.push(`M${column * side} ${(row + 1) * side}h${side}`);
      if (!regions.has(key)) regions.set(key, []);
      regions.get(key).push([middle(column), -middle(row)]);
    });
  });
  const places = [...regions].map(([key, points]) => {
    const centre = blend(new Array(points.length).fill(1 / points.length), points);
    // Near the centre of its region, but clear of the keys and of the edge.
    const fit = (point) => {
      const clear = Math.min(...keys.map((other) => Math.hypot(point[0] - other[0], point[1] - other[1])));
      const inside = EDGE - Math.max(Math.abs(point[0]), Math.abs(point[1]));
      return Math.min(clear, 0.5) + Math.min(inside, 0.3) - 0.4 * Math.hypot(point[0] - centre[0], point[1] - centre[1]);
    };
    return { key, at: points.reduce((best, point) => (fit(point) > fit(best) ? point : best)) };
  });
  return { border: border.join(""), places };
}

function render({ model, el }) {
  const group = Math.random().toString(36).slice(2); // two widgets on one page must not share radios
  const count = model.get("key").length;
  const names = ["query", ...Array.from({ length: count }, (_, i) => nameOf(i))];
  let moving = 0; // 0 is the query, i + 1 the key i
  let dragging = false;

  const radios = SCORES.map(({ value }) => make("input", { type: "radio", name: `score-${group}`, value }));
  const movers = names.map((_, i) => make("input", { type: "radio", name: `move-${group}`, value: i }));
  const slider = () => make("input", { type: "range", min: -EDGE, max: EDGE, step: STEP });
  const [across, up] = [slider(), slider()];
  const [acrossOutput, upOutput, turnOutput] = [make("output"), make("output"), make("output")];
  const turnInput = make("input", { type: "range", min: -180, max: 180, step: 5 });
  const turnControl = make("div", { class: "tb-control" }, make("label", {}, "W turns q by", turnInput), turnOutput);

  const border = make("path", { class: "border" });
  const regionNames = Array.from({ length: count }, () => make("text", { class: "region", "text-anchor": "middle" }));
  const links = Array.from({ length: count }, () => make("line", { class: "link" }));
  const keys = Array.from({ length: count }, (_, i) =>
    make(
      "g",
      { class: "key", "data-point": i + 1 },
      make("circle", { r: 12 }),
      make("text", { "text-anchor": "middle", y: 5 }, nameOf(i)),
    ),
  );
  const query = make("g", { class: "query", "data-point": 0 }, make("path", { d: "M0-14L14 0L0 14L-14 0Z" }), make("text", { "text-anchor": "middle", y: 5 }, "q"));
  const output = make("g", { class: "output" }, make("circle", { r: 8 }), make("circle", { r: 2.5, class: "dot" }));
  const axes = [
    make("line", { class: "axis", x1: 0, x2: SIZE, y1: SIZE / 2, y2: SIZE / 2 }),
    make("line", { class: "axis", y1: 0, y2: SIZE, x1: SIZE / 2, x2: SIZE / 2 }),
  ];
  const plane = make(
    "svg",
    { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "tb-lookup-plane", "aria-hidden": "true" },
    ...axes,
    border,
    ...regionNames,
    ...links,
    ...keys,
    output,
    query,
  );
  const rows = Array.from({ length: count }, (_, i) => {
    const scoreText = make("span", { class: "tb-lookup-score" });
    const bar = make("span", { class: "tb-lookup-bar" });
    const weightText = make("span", { class: "tb-number" });
    const row = make("div", { class: "tb-lookup-row" }, make("b", {}, nameOf(i)), scoreText, make("span", { class: "tb-lookup-track" }, bar), weightText);
    return { row, scoreText, bar, weightText };
  });
  const says = make("p", { class: "tb-lookup-says", "aria-live": "polite" });
  const root = make(
    "div",
    { class: "tb-root tb-lookup", role: "group", "aria-label": "Soft lookup: a query among keys, and the weights each score gives" },
    make(
      "div",
      { class: "tb-controls" },
      make("fieldset", {}, make("legend", {}, "score"), ...SCORES.map(({ name }, i) => make("label", {}, radios[i], name))),
      turnControl,
    ),
    make(
      "div",
      { class: "tb-lookup-body" },
      plane,
      make(
        "div",
        { class: "tb-lookup-side" },
        make(
          "div",
          { class: "tb-lookup-rows", "aria-hidden": "true" },
          make("div", { class: "tb-lookup-row tb-muted" }, "key", make("span", { class: "tb-lookup-score" }, "score"), "", "weight"),
          ...rows.map(({ row }) => row),
        ),
        make("fieldset", {}, make("legend", {}, "move"), ...names.map((name, i) => make("label", {}, movers[i], name))),
        make("div", { class: "tb-control" }, make("label", {}, "x", across), acrossOutput),
        make("div", { class: "tb-control" }, make("label", {}, "y", up), upOutput),
        make("p", { class: "tb-muted" }, "Drag q or a key, or choose one and use the sliders. Letters name the key that wins where they stand."),
      ),
    ),
    says,
  );

  const point = (i) => (i === 0 ? model.get("query") : model.get("key")[i - 1]);
  function place(i, [x, y]) {
    const kept = [x, y].map((number) => Math.max(-EDGE, Math.min(EDGE, Math.round(number / STEP) * STEP)));
    if (i === 0) model.set("query", kept);
    else model.set("key", model.get("key").map((key, j) => (j === i - 1 ? kept : key)));
    model.save_changes();
  }
  function choose(i) {
    moving = i;
    update();
  }

  function score(from) {
    return scoresOf(model.get("score"), from, model.get("key"), model.get("turn"), model.get("network"));
  }

  let places = [];
  function redraw() {
    const map = mapOfWinners((from) => winner(score(from)), model.get("key"));
    places = map.places;
    border.setAttribute("d", map.border);
    regionNames.forEach((text) => text.setAttribute("visibility", "hidden"));
    for (const { key, at } of places) {
      regionNames[key].setAttribute("visibility", "visible");
      regionNames[key].setAttribute("x", horizontal(at[0]));
      regionNames[key].setAttribute("y", vertical(at[1]) + 9);
      regionNames[key].textContent = nameOf(key);
    }
    update();
  }

  function update() {
    const chosen = SCORES.findIndex(({ value }) => value === model.get("score"));
    const scores = score(model.get("query"));
    const weights = softmax(scores);
    const at = blend(weights, model.get("key"));
    radios[chosen].checked = true;
    movers[moving].checked = true;
    turnControl.hidden = SCORES[chosen].value !== "bilinear";
    turnInput.value = model.get("turn");
    turnOutput.textContent = `${model.get("turn")}°`.replace("-", "−");
    const [x, y] = point(moving);
    across.value = x;
    up.value = y;
    acrossOutput.textContent = signed(x);
    upOutput.textContent = signed(y);
    const [qx, qy] = model.get("query");
    query.setAttribute("transform", `translate(${horizontal(qx)} ${vertical(qy)})`);
    output.setAttribute("transform", `translate(${horizontal(at[0])} ${vertical(at[1])})`);
    model.get("key").forEach(([kx, ky], i) => {
      keys[i].setAttribute("transform", `translate(${horizontal(kx)} ${vertical(ky)})`);
      links[i].setAttribute("x1", horizontal(qx));
      links[i].setAttribute("y1", vertical(qy));
      links[i].setAttribute("x2", horizontal(kx));
      links[i].setAttribute("y2", vertical(ky));
      links[i].style.strokeWidth = `${12 * weights[i]}px`;
      rows[i].scoreText.textContent = signed(scores[i]);
      rows[i].bar.style.transform = `scaleX(${weights[i]})`;
      rows[i].weightText.textContent = weights[i].toFixed(2);
    });
    const never = rows.map((_, i) => i).filter((i) => !places.some(({ key }) => key === i));
    const lost = never.length === 0 ? "Every key wins somewhere." : `Nowhere in this plane does ${never.map(nameOf).join(" or ")} win.`;
    const shares = weights.map((weight, i) => `${nameOf(i)} ${weight.toFixed(2)}`).join(", ");
    says.textContent =
      `Compared by ${SCORES[chosen].said}, the query at (${signed(qx)}, ${signed(qy)}) gives the weights ${shares}; ` +
      `the output is (${signed(at[0])}, ${signed(at[1])}). ${lost}`;
  }

  radios.forEach((radio) =>
    radio.addEventListener("change", () => {
      model.set("score", radio.value);
      model.save_changes();
    }),
  );
  turnInput.addEventListener("input", () => {
    model.set("turn", Number(turnInput.value));
    model.save_changes();
  });
  movers.forEach((radio, i) => radio.addEventListener("change", () => choose(i)));
  across.addEventListener("input", () => place(moving, [Number(across.value), point(moving)[1]]));
  up.addEventListener("input", () => place(moving, [point(moving)[0], Number(up.value)]));

  function drag(event) {
    const box = plane.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 * EDGE - EDGE;
    const y = EDGE - ((event.clientY - box.top) / box.height) * 2 * EDGE;
    place(moving, [x, y]);
  }
  plane.addEventListener("pointerdown", (event) => {
    const held = event.target.closest("[data-point]");
    dragging = true;
    plane.setPointerCapture(event.pointerId);
    choose(held === null ? 0 : Number(held.dataset.point));
    drag(event);
    event.preventDefault();
  });
  plane.addEventListener("pointermove", (event) => dragging && drag(event));
  for (const end of ["pointerup", "pointercancel"]) plane.addEventListener(end, () => (dragging = false));

  const listeners = { query: update, key: redraw, score: redraw, turn: redraw };
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  redraw();
  el.append(root);
  return () => {
    for (const [name, listener] of Object.entries(listeners)) model.off(`change:${name}`, listener);
    root.remove();
  };
}

export default { render };
