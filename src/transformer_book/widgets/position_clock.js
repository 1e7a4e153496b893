import { make } from "./_elements.js";

/** @typedef {"sinusoidal" | "added" | "rotary"} Encoding */

const LAST = 127;

/** Radians per position of each dial: falling from 1. @param {number} width @returns {number[]} */
export function frequencies(width) {
  return Array.from({ length: width / 2 }, (_, i) => 10000 ** ((-2 * i) / width));
}

/**
 * A vector of pairs at a position.
 * @param {Encoding} encoding @param {number[]} content @param {number} position @param {number} width
 * @returns {number[]}
 */
export function place(encoding, content, position, width) {
  return frequencies(width).flatMap((frequency, i) => {
    const sine = Math.sin(position * frequency);
    const cosine = Math.cos(position * frequency);
    if (encoding === "sinusoidal") return [sine, cosine];
    const [x, y] = [content[2 * i], content[2 * i + 1]];
    return encoding === "added" ? [x + sine, y + cosine] : [x * cosine - y * sine, x * sine + y * cosine];
  });
}

/** Share of each pair in the score a · b / √K. @param {number[]} a @param {number[]} b @returns {number[]} */
export function parts(a, b) {
  const root = Math.sqrt(a.length);
  return Array.from({ length: a.length / 2 }, (_, i) => (a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1]) / root);
}

const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

/**
 * Score of the first vector with the second at every position.
 * @param {Encoding} encoding @param {number[][]} contents query and key @param {number} first @param {number} width
 * @returns {number[]}
 */
export function scoresOf(encoding, contents, first, width) {
  const a = place(encoding, contents[0], first, width);
  return Array.from({ length: LAST + 1 }, (_, n) => total(parts(a, place(encoding, contents[1], n, width))));
}

/** Tokens that one turn of a dial takes, as text. @param {number} frequency @returns {string} */
export function period(frequency) {
  const tokens = (2 * Math.PI) / frequency;
  if (tokens >= 9999.5) return `${(tokens / 1000).toFixed(0)}k`;
  return tokens < 9.95 ? tokens.toFixed(1) : tokens.toFixed(0);
}

const ENCODINGS = [
  { value: "sinusoidal", name: "sinusoids", said: "Rows of sinusoids" },
  { value: "added", name: "content + sinusoids", said: "A query and a key with sinusoids added" },
  { value: "rotary", name: "rotary", said: "A query and a key turned by their positions" },
];
const WIDTHS = [8, 16, 32, 64];

// A dial and the curve, in SVG units.
const RADIUS = 28;
const BOX = 72;
const WIDE = 480;
const HIGH = 190;
const LEFT = 40;
const RIGHT = 470;
const TOP = 12;
const BASE = 158;

const signed = (number, digits = 2) => number.toFixed(digits).replace("-", "−");

/** A dial: two hands, and below it how much this pair adds to the score. */
function dial() {
  const second = make("line", { class: "hand second" });
  const tip = make("rect", { class: "tip second", x: -3.5, y: -3.5, width: 7, height: 7 });
  const first = make("line", { class: "hand first" });
  const end = make("circle", { class: "tip first", r: 3.5 });
  const label = make("text", { y: BOX + 16, "text-anchor": "middle" });
  const share = make("line", { class: "share", y1: BOX / 2 + RADIUS + 8, y2: BOX / 2 + RADIUS + 8 });
  const middle = make("line", { class: "middle", x1: 0, x2: 0, y1: BOX / 2 + RADIUS + 4, y2: BOX / 2 + RADIUS + 12 });
  const svg = make(
    "svg",
    { viewBox: `${-BOX / 2} 0 ${BOX} ${BOX + 22}`, class: "tb-clock-dial" },
    make(
      "g",
      { transform: `translate(0 ${BOX / 2})` },
      make("circle", { class: "face", r: RADIUS }),
      make("line", { class: "tick", x1: 0, x2: 0, y1: -RADIUS, y2: -RADIUS + 4 }),
      second,
      tip,
      first,
      end,
    ),
    share,
    middle,
    label,
  );
  function point(line, mark, [x, y], longest) {
    const [across, down] = [(x / longest) * RADIUS, (-y / longest) * RADIUS];
    line.setAttribute("x2", across);
    line.setAttribute("y2", down);
    mark.setAttribute("transform", `translate(${across} ${down})`);
  }
  return {
    svg,
    update(a, b, longest, part, most, text) {
      point(first, end, a, longest);
      point(second, tip, b, longest);
      share.setAttribute("x2", (part / most) * (RADIUS + 4));
      share.setAttribute("class", part < 0 ? "share against" : "share");
      label.textContent = text;
    },
  };
}

function render({ model, el }) {
  const group = Math.random().toString(36).slice(2); // two widgets on one page must not share radios
  const slider = () => make("input", { type: "range", min: 0, max: LAST, step: 1 });
  const [firstInput, secondInput, bothInput] = [slider(), slider(), slider()];
  const [firstOutput, secondOutput, bothOutput] = [make("output"), make("output"), make("output")];
  const radios = ENCODINGS.map(({ value }) => make("input", { type: "radio", name: `encoding-${group}`, value }));
  const widths = WIDTHS.map((value) => make("input", { type: "radio", name: `width-${group}`, value }));
  const drawButton = make("button", { type: "button" });
  const dials = Array.from({ length: WIDTHS[WIDTHS.length - 1] / 2 }, dial);
  const grid = make("div", { class: "tb-clock-dials", "aria-hidden": "true" }, ...dials.map(({ svg }) => svg));

  const x = (distance) => (LEFT + RIGHT) / 2 + (distance / LAST) * ((RIGHT - LEFT) / 2);
  const curve = make("path", { class: "curve" });
  const here = make("g", {}, make("line", { class: "drop" }), make("rect", { class: "here", x: -5, y: -5, width: 10, height: 10 }));
  const zero = make("line", { class: "axis", x1: LEFT, x2: RIGHT });
  const zeroText = make("text", { x: LEFT - 8, "text-anchor": "end" }, "0");
  const topText = make("text", { x: LEFT - 8, y: TOP + 4, "text-anchor": "end" });
  const ticks = [-100, -50, 0, 50, 100].map((distance) =>
    make("text", { x: x(distance), y: BASE + 18, "text-anchor": "middle" }, signed(distance, 0)),
  );
  const title = make("span");
  const reading = make("span", { class: "tb-number" });
  const figure = make(
    "figure",
    { class: "tb-clock-curve" },
    make("figcaption", {}, title, reading),
    make(
      "svg",
      { viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true" },
      make("line", { class: "grid", x1: x(0), x2: x(0), y1: TOP, y2: BASE }),
      zero,
      zeroText,
      topText,
      ...ticks,
      curve,
      here,
    ),
    make("p", { class: "tb-muted" }, "distance: second position − first position"),
  );
  const says = make("p", { class: "tb-clock-says", "aria-live": "polite" });
  const root = make(
    "div",
    { class: "tb-root tb-clock", role: "group", "aria-label": "Position clock: two positions as hands of clocks, and their score" },
    make(
      "div",
      { class: "tb-controls" },
      make("fieldset", {}, make("legend", {}, "compare"), ...ENCODINGS.map(({ name }, i) => make("label", {}, radios[i], name))),
      make("fieldset", {}, make("legend", {}, "width"), ...WIDTHS.map((width, i) => make("label", {}, widths[i], String(width)))),
      drawButton,
    ),
    make(
      "div",
      { class: "tb-clock-sliders" },
      make("div", { class: "tb-control first" }, make("label", {}, make("span", { class: "tb-clock-key" }, "● first"), firstInput), firstOutput),
      make("div", { class: "tb-control second" }, make("label", {}, make("span", { class: "tb-clock-key" }, "■ second"), secondInput), secondOutput),
      make("div", { class: "tb-control" }, make("label", {}, make("span", { class: "tb-clock-key" }, "both"), bothInput), bothOutput),
    ),
    grid,
    make("p", { class: "tb-muted" }, "One dial per pair of coordinates; the number below is how many tokens one turn takes. Bars: what the pair adds to the score (left: takes away)."),
    figure,
    says,
  );

  const contents = () => model.get("contents")[model.get("draw")];

  function update() {
    const [first, second, width] = ["first", "second", "width"].map((name) => model.get(name));
    const chosen = ENCODINGS.findIndex(({ value }) => value === model.get("encoding"));
    const encoding = ENCODINGS[chosen].value;
    const [query, key] = contents();
    const a = place(encoding, query, first, width);
    const b = place(encoding, key, second, width);
    const shares = parts(a, b);
    const score = total(shares);
    const scores = scoresOf(encoding, [query, key], first, width);

    radios[chosen].checked = true;
    widths[WIDTHS.indexOf(width)].checked = true;
    drawButton.hidden = encoding === "sinusoidal";
    drawButton.textContent = `new query and key (${model.get("draw") + 1} of ${model.get("contents").length})`;
    const apart = Math.abs(first - second);
    firstInput.value = first;
    secondInput.value = second;
    bothInput.max = LAST - apart;
    bothInput.value = Math.min(first, second);
    bothInput.setAttribute("aria-valuetext", `${first} and ${second}`);
    firstOutput.textContent = first;
    secondOutput.textContent = second;
    bothOutput.textContent = `${apart} apart`;

    // The longest hand of either vector, wherever it may turn, reaches the rim.
    const length = (vector, i) => Math.hypot(vector[2 * i], vector[2 * i + 1]);
    const longest = Array.from({ length: width / 2 }, (_, i) => {
      if (encoding === "sinusoidal") return 1;
      const own = Math.max(length(query, i), length(key, i));
      return encoding === "added" ? own + 1 : own;
    });
    const most = Math.max(...longest.map((reach) => reach ** 2)) / Math.sqrt(width);
    const reach = Math.max(...longest);
    dials.forEach((one, i) => {
      one.svg.style.display = i < width / 2 ? "" : "none";
      if (i >= width / 2) return;
      const pair = (vector) => [vector[2 * i], vector[2 * i + 1]];
      one.update(pair(a), pair(b), reach, shares[i], most, period(frequencies(width)[i]));
    });

    const [low, high] = [Math.min(0, ...scores), Math.max(0, ...scores)];
    const y = (value) => BASE - ((value - low) / (high - low)) * (BASE - TOP);
    curve.setAttribute("d", `M${scores.map((value, n) => `${x(n - first).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`);
    here.setAttribute("transform", `translate(${x(second - first)} ${y(score)})`);
    const drop = here.firstChild;
    for (const [name, value] of Object.entries({ x1: 0, x2: 0, y1: 0, y2: y(0) - y(score) })) drop.setAttribute(name, value);
    zero.setAttribute("y1", y(0));
    zero.setAttribute("y2", y(0));
    zeroText.setAttribute("y", y(0) + 4);
    topText.textContent = high > 0.15 * (high - low) ? high.toFixed(1) : ""; // not over the 0
    title.textContent = "Score with the second vector anywhere";
    reading.textContent = `here ${signed(score)}`;
    says.textContent =
      `${ENCODINGS[chosen].said}, width ${width}, at positions ${first} and ${second} (${apart} apart): score ${signed(score)}. ` +
      (encoding === "added"
        ? "Move both: the score changes, though the distance does not."
        : "Move both: every hand turns, and the score stays.");
  }

  function send(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  }
  firstInput.addEventListener("input", () => send({ first: Number(firstInput.value) }));
  secondInput.addEventListener("input", () => send({ second: Number(secondInput.value) }));
  bothInput.addEventListener("input", () => {
    const by = Number(bothInput.value) - Math.min(model.get("first"), model.get("second"));
    send({ first: model.get("first") + by, second: model.get("second") + by });
  });
  radios.forEach((radio) => radio.addEventListener("change", () => send({ encoding: radio.value })));
  widths.forEach((radio) => radio.addEventListener("change", () => send({ width: Number(radio.value) })));
  drawButton.addEventListener("click", () => send({ draw: (model.get("draw") + 1) % model.get("contents").length }));

  const names = ["first", "second", "width", "encoding", "draw"];
  for (const name of names) model.on(`change:${name}`, update);
  update();
  el.append(root);
  return () => {
    for (const name of names) model.off(`change:${name}`, update);
    root.remove();
  };
}

export default { render };
