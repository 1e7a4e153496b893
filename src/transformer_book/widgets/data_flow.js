// Data flow. Arithmetic first, as pure functions that are tested against the Python package; then the view.
import { make } from "./_elements.js";

/**
 * Numbers of one stop. @param {string} text 16-bit integers in base64, little-endian @param {number} unit what 1 stands for
 * @param {number} rows positions @returns {number[][]} one row per position
 */
export function unpack(text, unit, rows) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const columns = bytes.length / 2 / rows;
  return Array.from({ length: rows }, (_, t) => Array.from({ length: columns }, (_, d) => unit * view.getInt16(2 * (t * columns + d), true)));
}

/** Length of a vector. @param {number[]} row @returns {number} */
export function norm(row) {
  return Math.hypot(...row);
}

/** Mean and standard deviation, divided by the number, of a vector's coordinates. @param {number[]} row @returns {[number, number]} */
export function meanAndSpread(row) {
  const mean = row.reduce((sum, x) => sum + x, 0) / row.length;
  return [mean, Math.sqrt(row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row.length)];
}

/** Cosine of the angle between two vectors; 0 where one has no length. @param {number[]} a @param {number[]} b @returns {number} */
export function cosine(a, b) {
  const size = norm(a) * norm(b);
  return size === 0 ? 0 : a.reduce((sum, x, d) => sum + x * b[d], 0) / size;
}

/** Places of the largest numbers, largest first. @param {number[]} row @param {number} count @returns {number[]} */
export function ranked(row, count) {
  return row
    .map((_, d) => d)
    .sort((a, b) => row[b] - row[a] || a - b)
    .slice(0, count);
}

const FIRST = 8; // coordinates printed
const BEST = 5; // symbols named, and, of probabilities but the largest, the least worth naming
const LEAST = 0.0005;
const PAUSE = 1100; // ms from stop to stop while it plays
const ROW = 15; // CSS pixels
const LABEL = 22;
const HEAD = 18;
const seen = (symbol) => (symbol === " " ? "␣" : symbol);
const fixed = (x) => {
  const text = Math.abs(x).toFixed(2);
  return x < 0 && Number(text) > 0 ? `−${text}` : text;
};
const SHORT = { embedding: "embed", position: "+ position", norm: "norm", attention: "attention", cross: "cross", "feed-forward": "feed-forward", add: "add", logits: "readout", probabilities: "softmax" };

function render({ model, el }) {
  const plan = model.get("plan");
  const symbols = model.get("symbols");
  const texts = model.get("inputs");
  const select = make("select", {}, ...texts.map(({ source }, i) => make("option", { value: i }, source.join(""))));
  const written = make("output");
  const place = make("input", { type: "range", min: 0, step: 1 });
  const step = make("input", { type: "range", min: 0, step: 1 });
  const [placeSymbol, stepSymbol] = [make("output"), make("output")];
  const button = (text) => make("button", { type: "button" }, text);
  const [rewind, back, play, on, pin] = ["Rewind", "Back", "Play", "Step", "Pin to compare"].map(button);
  const dial = make("input", { type: "range", min: 0, max: plan.length - 1, step: 1 });
  const count = make("output");

  const buttons = plan.map(({ kind, name }, i) => {
    const bar = make("i", { "aria-hidden": "true" });
    const number = make("small", { "aria-hidden": "true" });
    const node = make("button", { type: "button", "data-stop": i, "aria-label": `go to ${name}` }, make("span", {}, SHORT[kind]), number, bar);
    node.addEventListener("click", () => go(i));
    return { node, bar, number };
  });
  const block = (side, layer, from, to) => {
    const title = layer > 0 ? `layer ${layer}` : from < plan.findIndex((stop) => stop.side === side && stop.layer > 0) ? "in" : "out";
    return make("div", { class: "tb-flow-block" }, make("p", {}, title), ...buttons.slice(from, to).map(({ node }) => node));
  };
  const stacks = ["encoder", "decoder"].map((side) => {
    const blocks = [];
    let from = plan.findIndex((stop) => stop.side === side);
    const end = plan.findLastIndex((stop) => stop.side === side) + 1;
    while (from < end) {
      let to = from;
      while (to < end && plan[to].layer === plan[from].layer) to += 1;
      blocks.push(block(side, plan[from].layer, from, to));
      from = to;
    }
    return make("section", { class: "tb-flow-stack", "aria-label": `stops of the ${side}` }, make("p", { class: "tb-flow-side" }, side), make("div", { class: "tb-flow-blocks" }, ...blocks));
  });

  const title = make("p", { class: "tb-flow-title" });
  const what = make("p", { class: "tb-flow-what" });
  const canvas = make("canvas", { "aria-hidden": "true" });
  const caption = make("figcaption", { class: "tb-muted" });
  const numbers = make("p", { class: "tb-flow-numbers", "aria-hidden": "true" });
  const facts = make("p", { class: "tb-flow-facts" });
  const compared = make("p", { class: "tb-flow-compared" });
  const says = make("p", { class: "tb-flow-says", "aria-live": "polite" });
  const picture = make("figure", {}, canvas, caption);
  const root = make(
    "div",
    { class: "tb-root tb-flow", role: "group", "aria-label": "Data flow: a sentence on its way through every block of a trained Transformer" },
    make("div", { class: "tb-controls" }, make("div", { class: "tb-control" }, make("label", {}, "reads", select)), make("span", {}, "writes ", written)),
    make(
      "div",
      { class: "tb-controls" },
      make("div", { class: "tb-control" }, make("label", {}, "encoder: follow", place), placeSymbol),
      make("div", { class: "tb-control" }, make("label", {}, "decoder: writes", step), stepSymbol),
    ),
    make("div", { class: "tb-controls tb-flow-transport" }, rewind, back, play, on, make("div", { class: "tb-control" }, make("label", {}, "stop", dial), count)),
    make("div", { class: "tb-flow-here" }, title, what, picture, numbers, facts, make("div", { class: "tb-controls" }, pin, compared)),
    make("div", { class: "tb-flow-map" }, make("p", {}, "All stops, with the norm of the vector followed:"), ...stacks),
    says,
  );

  let data = []; // by stop: one row per position
  let input = texts[0];
  let room = 0;
  let timer = null;

  const sideOf = (i) => plan[i].side;
  const rowOf = (i) => Math.min(model.get(sideOf(i) === "encoder" ? "place" : "step"), data[i].length - 1);
  const vector = (i) => data[i][rowOf(i)];

  function send(name, value) {
    model.set(name, value);
    model.save_changes();
  }
  function go(i) {
    send("stop", Math.max(0, Math.min(plan.length - 1, i)));
  }
  function halt() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  function read() {
    input = texts[model.get("chosen")];
    data = input.stops.map(({ unit, values }, i) => unpack(values, unit, input[sideOf(i) === "encoder" ? "source" : "target"].length));
    select.value = model.get("chosen");
    written.textContent = input.target.slice(0, -1).join("");
    place.max = input.source.length - 1;
    step.max = input.target.length - 1;
    follow();
  }

  function follow() {
    const [s, t] = [Math.min(model.get("place"), input.source.length - 1), Math.min(model.get("step"), input.target.length - 1)];
    place.value = s;
    step.value = t;
    placeSymbol.textContent = seen(input.source[s]);
    stepSymbol.textContent = seen(input.target[t]);
    place.setAttribute("aria-valuetext", `${input.source[s]}, character ${s + 1} of ${input.source.length}`);
    step.setAttribute("aria-valuetext", `${input.target[t]}, character ${t + 1} of ${input.target.length}`);
    const norms = plan.map(({ kind }, i) => (kind === "logits" || kind === "probabilities" ? null : norm(vector(i))));
    const longest = Math.max(...norms.filter((size) => size !== null));
    buttons.forEach(({ bar, number }, i) => {
      bar.style.setProperty("--share", norms[i] === null ? "0%" : `${((100 * norms[i]) / longest).toFixed(1)}%`);
      number.textContent = norms[i] === null ? "" : norms[i].toFixed(1);
    });
    show();
  }

  function paint() {
    const i = model.get("stop");
    const rows = data[i];
    const labels = sideOf(i) === "encoder" ? input.source : input.target;
    const named = rows[0].length === symbols.length;
    const head = named ? HEAD : 0;
    const high = head + rows.length * ROW + 2;
    const scale = 2;
    canvas.width = Math.max(1, Math.floor(room * scale));
    canvas.height = high * scale;
    canvas.style.height = `${high}px`;
    const style = getComputedStyle(root);
    const [plus, minus, ink, muted, accent] = ["query", "key", "ink", "muted", "accent"].map((name) => style.getPropertyValue(`--w-${name}`));
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, room, high);
    const wide = (room - LABEL - 2) / rows[0].length;
    const largest = Math.max(...rows.map((row) => Math.max(...row.map(Math.abs)))) || 1;
    rows.forEach((row, t) => {
      row.forEach((x, d) => {
        context.globalAlpha = Math.abs(x) / largest;
        context.fillStyle = x < 0 ? minus : plus;
        context.fillRect(LABEL + d * wide, head + t * ROW, wide + 0.3, ROW - 1);
        if (x < 0 && -x > 0.35 * largest) {
          context.globalAlpha = 1; // a notch says "negative" without colour
          context.fillStyle = ink;
          context.fillRect(LABEL + (d + 0.25) * wide, head + (t + 0.45) * ROW, wide / 2, 1);
        }
      });
    });
    context.globalAlpha = 1;
    context.font = "12px ui-monospace, monospace";
    context.textAlign = "center";
    labels.forEach((symbol, t) => {
      context.fillStyle = t === rowOf(i) ? ink : muted;
      context.fillText(seen(symbol), LABEL / 2, head + (t + 0.75) * ROW);
    });
    if (named) {
      context.fillStyle = muted;
      symbols.forEach((symbol, d) => context.fillText(symbol === "pad" ? "∅" : symbol, LABEL + (d + 0.5) * wide, 12));
    }
    context.strokeStyle = accent;
    context.lineWidth = 1.5;
    context.strokeRect(LABEL, head + rowOf(i) * ROW - 0.5, room - LABEL - 1.5, ROW);
  }

  function show() {
    const i = model.get("stop");
    const { name, side, says: sentence, kind } = plan[i];
    const row = vector(i);
    const encoder = side === "encoder";
    const labels = encoder ? input.source : input.target;
    const at = rowOf(i);
    dial.value = i;
    dial.setAttribute("aria-valuetext", `${name}, stop ${i + 1} of ${plan.length}`);
    count.textContent = `${i + 1} of ${plan.length}`;
    back.disabled = rewind.disabled = i === 0;
    on.disabled = i === plan.length - 1;
    if (on.disabled) halt();
    buttons.forEach(({ node }, n) => {
      if (n === i) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
      node.classList.toggle("passed", n < i);
      node.classList.toggle("pinned", n === model.get("pinned"));
    });
    const letters = `${encoder ? "S" : "T"}, ${kind === "logits" || kind === "probabilities" ? "V" : "D"}`;
    title.replaceChildren(make("b", {}, name), ` (${letters}) = (${data[i].length}, ${row.length})`);
    what.textContent = sentence;
    caption.textContent = kind === "probabilities"
      ? "One row per character written, one column per symbol; the stronger the colour, the more probable."
      : `One row per ${encoder ? "character read" : "character written"}, one column per ${kind === "logits" ? "symbol" : "coordinate"}; blue positive, warm with a notch negative. Framed: the position followed.`;
    const followed = `position ${at + 1}, which ${encoder ? "reads" : "writes"} “${labels[at]}”`;
    let result;
    if (kind === "logits" || kind === "probabilities") {
      const best = ranked(row, BEST)
        .filter((d, rank) => kind === "logits" || rank === 0 || row[d] >= LEAST)
        .map((d) => `“${symbols[d]}” ${kind === "logits" ? fixed(row[d]) : row[d].toFixed(3)}`);
      numbers.textContent = "";
      result = `${followed}: ${best.join(", ")}`;
    } else {
      numbers.textContent = `${row.slice(0, FIRST).map(fixed).join("  ")} …`;
      const [mean, spread] = meanAndSpread(row);
      result = `${followed}: norm ${fixed(norm(row))}, mean ${fixed(mean)}, standard deviation ${fixed(spread)}`;
    }
    facts.textContent = `${result[0].toUpperCase()}${result.slice(1)}.`;
    const other = model.get("pinned");
    pin.textContent = other === i ? "Unpin" : "Pin to compare";
    compared.textContent = "";
    if (other >= 0 && other !== i) {
      const kept = vector(other);
      compared.textContent = kept.length === row.length
        ? `Against ${plan[other].name} (pinned, norm ${fixed(norm(kept))}): cosine ${fixed(cosine(kept, row))}, difference of norm ${fixed(norm(row.map((x, d) => x - kept[d])))}.`
        : `Pinned: ${plan[other].name}; it has ${kept.length} columns and cannot be compared with this.`;
    }
    says.textContent = `Stop ${i + 1} of ${plan.length}, ${name}. ${facts.textContent}`;
    paint();
  }

  select.addEventListener("change", () => send("chosen", Number(select.value)));
  place.addEventListener("input", () => send("place", Number(place.value)));
  step.addEventListener("input", () => send("step", Number(step.value)));
  dial.addEventListener("input", () => go(Number(dial.value)));
  rewind.addEventListener("click", () => {
    halt();
    go(0);
  });
  back.addEventListener("click", () => go(model.get("stop") - 1));
  on.addEventListener("click", () => go(model.get("stop") + 1));
  play.addEventListener("click", () => {
    if (timer !== null) return halt();
    if (model.get("stop") === plan.length - 1) go(0);
    play.textContent = "Pause";
    timer = setInterval(() => go(model.get("stop") + 1), PAUSE);
  });
  pin.addEventListener("click", () => send("pinned", model.get("pinned") === model.get("stop") ? -1 : model.get("stop")));
  canvas.addEventListener("pointerdown", (event) => {
    const i = model.get("stop");
    const head = data[i][0].length === symbols.length ? HEAD : 0;
    const t = Math.floor((event.clientY - canvas.getBoundingClientRect().top - head) / ROW);
    if (t >= 0 && t < data[i].length) send(sideOf(i) === "encoder" ? "place" : "step", t);
  });

  const listeners = { chosen: read, stop: show, place: follow, step: follow, pinned: show };
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  el.append(root);
  read();
  // A canvas takes its size and its colours when it is painted: again when either changes.
  const placed = new ResizeObserver((entries) => {
    room = entries[0].contentRect.width;
    paint();
  });
  placed.observe(picture);
  const watcher = new MutationObserver(paint);
  for (const node of [document.documentElement, document.body]) watcher.observe(node, { attributes: true });
  return () => {
    halt();
    placed.disconnect();
    watcher.disconnect();
    for (const [name, listener] of Object.entries(listeners)) model.off(`change:${name}`, listener);
    root.remove();
  };
}

export default { render };
