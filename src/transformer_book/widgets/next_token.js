// Next token. Arithmetic first, as pure functions that are tested against the Python package; then the view.
import { make } from "./_elements.js";

/** @typedef {{ text: string, tokens: string[], logs: number[], tail: [number, number][] }} Distribution */

/** ln p of every group of tokens that are equally probable, and its size. @param {Distribution} entry */
export function groupsOf(entry) {
  return { logs: [...entry.logs, ...entry.tail.map(([log]) => log)], counts: [...entry.logs.map(() => 1), ...entry.tail.map(([, n]) => n)] };
}

/**
 * What the dials leave: of each group the tokens kept, and the probability of each of these.
 * @param {number[]} logs ln p, falling @param {number[]} counts tokens in each group
 * @param {number} temperature @param {number} topK 0 keeps all @param {number} topP
 * @returns {{ kept: number[], each: number[] }}
 */
export function afterDials(logs, counts, temperature, topK, topP) {
  const scores = logs.map((log) => Math.exp((log - logs[0]) / temperature));
  const kept = counts.slice();
  if (topK > 0) {
    let seen = 0;
    let last = logs[logs.length - 1];
    for (let i = 0; i < logs.length; i += 1) {
      seen += counts[i];
      if (seen >= topK) {
        last = logs[i];
        break;
      }
    }
    logs.forEach((log, i) => {
      if (log < last) kept[i] = 0; // what ties with the last one stays
    });
  }
  const total = () => scores.reduce((sum, score, i) => sum + score * kept[i], 0);
  const all = total();
  let before = 0; // the probability of all that are more probable
  scores.forEach((score, i) => {
    const p = score / all;
    // A token stays while what stands before it has less than top-p.
    const fit = p > 0 ? Math.max(0, Math.ceil((topP - before) / p - 1e-9)) : before < topP ? kept[i] : 0;
    before += p * kept[i];
    kept[i] = topP < 1 ? Math.min(kept[i], fit) : kept[i];
  });
  const rest = total();
  return { kept, each: scores.map((score, i) => (kept[i] > 0 ? score / rest : 0)) };
}

/** Entropy in bits. @param {number[]} kept @param {number[]} each @returns {number} */
export function entropyOf(kept, each) {
  return each.reduce((sum, p, i) => sum - (p > 0 ? kept[i] * p * Math.log2(p) : 0), 0);
}

/** A number in 0 … 1 that depends on the seed alone (mulberry32). @param {number} seed @returns {number} */
export function uniformOf(seed) {
  const a = (Math.imul(seed, 0x9e3779b1) + 0x6d2b79f5) | 0;
  let t = Math.imul(a ^ (a >>> 15), a | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

/** Number of the group that a number in 0 … 1 falls into. @returns {number} */
export function drawn(kept, each, number) {
  let sum = 0;
  let last = 0;
  for (let i = 0; i < each.length; i += 1) {
    if (kept[i] > 0) last = i;
    sum += kept[i] * each[i];
    if (sum > number) return i;
  }
  return last;
}

/** A token with its spaces and line ends made visible. @param {string} token @returns {string} */
export function visible(token) {
  return token.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";
}

const ROWS = 14;
const TOP_KS = [1, 2, 3, 5, 10, 20, 50, 100, 200, 0];
const LAST = 10; // draws that are shown

const percent = (p) => (p >= 0.0995 ? `${(100 * p).toFixed(0)} %` : p >= 0.00095 ? `${(100 * p).toFixed(1)} %` : p > 0 ? "< 0.1 %" : "0");

function dial(label, attributes) {
  const input = make("input", { type: "range", ...attributes });
  const output = make("output");
  return { input, output, control: make("div", { class: "tb-control" }, make("label", {}, label, input), output) };
}

function render({ model, el }) {
  const entries = model.get("distributions");
  const select = make("select", {}, ...entries.map(({ text }, i) => make("option", { value: i }, text.length > 60 ? `… ${text.slice(-58)}` : text)));
  const temperature = dial("temperature", { min: 0.1, max: 3, step: 0.05 });
  const topK = dial("top-k", { min: 0, max: TOP_KS.length - 1, step: 1 });
  const topP = dial("top-p", { min: 0.05, max: 1, step: 0.01 });
  const draw = make("button", { type: "button" }, "Draw a token");
  const reset = make("button", { type: "button" }, "Reset");
  const prompt = make("p", { class: "tb-next-prompt" });
  const list = make("ol", { class: "tb-next-bars", "aria-label": "the most probable tokens" });
  const rows = Array.from({ length: ROWS + 1 }, () => {
    const name = make("code");
    const was = make("i", { class: "was" });
    const now = make("i", { class: "now" });
    const number = make("span", { class: "tb-next-number" });
    const row = make("li", {}, name, make("span", { class: "tb-next-track", "aria-hidden": "true" }, was, now), number);
    list.append(row);
    return { row, name, was, now, number };
  });
  const drawnText = make("p", { class: "tb-next-drawn" });
  const says = make("p", { class: "tb-next-says", "aria-live": "polite" });
  const root = make(
    "div",
    { class: "tb-root tb-next", role: "group", "aria-label": "Next token: temperature, top-k and top-p on a model's distribution" },
    make("div", { class: "tb-controls" }, make("div", { class: "tb-control tb-next-select" }, make("label", {}, "text", select))),
    make("div", { class: "tb-controls" }, temperature.control, topK.control, topP.control, make("div", { class: "tb-control" }, draw, reset)),
    prompt,
    list,
    make("p", { class: "tb-muted tb-next-key" }, "Outline: the model's own probability; filled: after the dials. Struck out: cannot be drawn."),
    drawnText,
    says,
  );

  function update() {
    const entry = entries[model.get("chosen")];
    const { logs, counts } = groupsOf(entry);
    const before = afterDials(logs, counts, 1, 0, 1);
    const after = afterDials(logs, counts, model.get("temperature"), model.get("top_k"), model.get("top_p"));
    select.value = model.get("chosen");
    prompt.replaceChildren(entry.text, make("b", {}, " ▁?"));
    const k = model.get("top_k");
    temperature.input.value = model.get("temperature");
    temperature.output.textContent = model.get("temperature").toFixed(2);
    let stop = TOP_KS.findIndex((value) => value >= k || value === 0);
    if (k === 0) stop = TOP_KS.length - 1;
    topK.input.value = stop;
    topK.output.textContent = k === 0 ? "off" : k;
    topK.input.setAttribute("aria-valuetext", k === 0 ? "off" : String(k));
    topP.input.value = model.get("top_p");
    topP.output.textContent = model.get("top_p") === 1 ? "off" : model.get("top_p").toFixed(2);

    const shown = Math.min(ROWS, entry.tokens.length);
    const longest = Math.max(before.each[0], after.each[0]);
    const place = (row, name, was, now, kept) => {
      row.name.textContent = name;
      row.was.style.width = `${((100 * was) / longest).toFixed(2)}%`;
      row.now.style.width = `${((100 * now) / longest).toFixed(2)}%`;
      row.number.textContent = kept ? `${percent(was)} → ${percent(now)}` : `${percent(was)} → cut`;
      row.row.classList.toggle("cut", !kept);
    };
    for (let i = 0; i < shown; i += 1) place(rows[i], visible(entry.tokens[i]), before.each[i], after.each[i], after.kept[i] > 0);
    for (let i = shown; i < ROWS; i += 1) rows[i].row.hidden = true;
    const mass = ({ each, kept }) => each.reduce((sum, p, i) => sum + (i >= shown ? p * kept[i] : 0), 0);
    const others = counts.reduce((sum, n) => sum + n, 0) - shown;
    const last = rows[ROWS];
    place(last, `${others.toLocaleString("en")} others`, mass(before), mass(after), mass(after) > 0);
    last.was.style.width = `${Math.min(100, (100 * mass(before)) / longest).toFixed(2)}%`;
    last.now.style.width = `${Math.min(100, (100 * mass(after)) / longest).toFixed(2)}%`;

    const draws = model.get("draws");
    const texts = [];
    for (let n = Math.max(1, draws - LAST + 1); n <= draws; n += 1) {
      const i = drawn(after.kept, after.each, uniformOf(n));
      texts.push(i < entry.tokens.length ? visible(entry.tokens[i]) : "…");
    }
    const words = texts.map((text, i) => make(i === texts.length - 1 ? "b" : "span", {}, make("code", {}, text)));
    drawnText.replaceChildren(draws === 0 ? "Nothing drawn yet." : `Drawn ${draws}, the last ones: `, ...words.flatMap((word) => [word, " "]));
    const left = after.kept.reduce((sum, n) => sum + n, 0);
    const heated = afterDials(logs, counts, model.get("temperature"), 0, 1);
    const cut = Math.max(0, 1 - after.kept.reduce((sum, n, i) => sum + n * heated.each[i], 0));
    says.textContent =
      `${left.toLocaleString("en")} of ${(others + shown).toLocaleString("en")} tokens may be drawn; cut off: ${percent(cut)} of the probability. ` +
      `Entropy ${entropyOf(before.kept, before.each).toFixed(2)} bits before, ${entropyOf(after.kept, after.each).toFixed(2)} after.` +
      (draws ? ` Last drawn: ${texts[texts.length - 1]}` : "");
  }

  function send(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  }
  select.addEventListener("change", () => send({ chosen: Number(select.value) }));
  temperature.input.addEventListener("input", () => send({ temperature: Number(temperature.input.value) }));
  topK.input.addEventListener("input", () => send({ top_k: TOP_KS[Number(topK.input.value)] }));
  topP.input.addEventListener("input", () => send({ top_p: Number(topP.input.value) }));
  draw.addEventListener("click", () => send({ draws: Math.min(9999, model.get("draws") + 1) }));
  reset.addEventListener("click", () => send({ temperature: 1, top_k: 0, top_p: 1, draws: 0 }));

  const names = ["chosen", "temperature", "top_k", "top_p", "draws"];
  for (const name of names) model.on(`change:${name}`, update);
  update();
  el.append(root);
  return () => {
    for (const name of names) model.off(`change:${name}`, update);
    root.remove();
  };
}

export default { render };
