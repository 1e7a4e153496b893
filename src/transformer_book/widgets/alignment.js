// Alignment. Arithmetic first, as pure functions that are tested against the Python package; then the view.
import { LEAST_NAMED, inWords, problemOf, sourcesOf, visible } from "./_dates.js";
import { fit, make, makeTyped, write } from "./_elements.js";
import { NUM_SPECIAL, run, toIds, toSymbols } from "./_network.js";

/** @typedef {import("./_network.js").Packed} Packed */

const MOST_WRITTEN = 11; // characters of a date, and the end

/** What a network was asked last, and said: several views of one widget ask the same. @type {WeakMap<Packed, any>} */
const answered = new WeakMap();

/**
 * Read a date and write it as year, month and day.
 * @param {Packed} packed @param {string} source normalised
 * @returns {{ decoded: string[], weights: number[][] }} the characters written, and for each the weights over the source
 */
export function translate(packed, source) {
  if (answered.get(packed)?.source !== source) {
    const { ids, weights } = run(packed, toIds(packed.source_symbols, source), MOST_WRITTEN);
    const decoded = toSymbols(packed.target_symbols, ids);
    answered.set(packed, { source, said: { decoded, weights: weights.filter((_, t) => ids[t] >= NUM_SPECIAL) } });
  }
  return answered.get(packed).said;
}

// Sizes in CSS pixels. A column narrower than LEAST_CELL would not hold a letter.
const LEAST_CELL = 14;
const MOST_CELL = 26;
const LABEL = 26;

function render({ model, el }) {
  const packed = model.get("network");
  const examples = model.get("examples").map(([language, name, text]) => {
    const button = make("button", { type: "button", lang: language, title: text }, name);
    button.addEventListener("click", () => send("text", text));
    return button;
  });
  const typed = makeTyped("date", {}, read);
  const controls = make(
    "div",
    { class: "tb-controls" },
    typed.control,
    make("div", { class: "tb-choice tb-align-examples", role: "group", "aria-label": "examples" }, ...examples),
  );
  const group = `tb-align-${Math.random().toString(36).slice(2)}`; // two widgets on one page must not share radios
  const writtenLine = make("div", { class: "tb-align-written", role: "radiogroup", "aria-label": "characters written" });
  const sourceLine = make("div", { class: "tb-align-source" });
  const says = make("p", { class: "tb-align-says", "aria-live": "polite" });
  const map = make("div", { class: "tb-align-map" });
  const root = make(
    "div",
    { class: "tb-root tb-align", role: "group", "aria-label": "Alignment: where a network looks while it writes a date" },
    controls,
    typed.problem,
    make("div", { class: "tb-align-lines" }, make("span", {}, "written"), writtenLine),
    // The sentence below says in words what the two drawings show.
    make("div", { class: "tb-align-lines", "aria-hidden": "true" }, make("span", {}, "read, and % looked at"), sourceLine),
    says,
    make("figure", { "aria-hidden": "true" }, make("figcaption", {}, "all weights: the stronger the colour, the larger the weight"), map),
  );

  let source = [];
  let now = { decoded: [], weights: [] };
  let hovered = null; // the row under the mouse, shown until the mouse leaves; not part of the model
  let room = 0;

  /** The matrix with the source across, or, where a letter would not fit into a column, with the source down. */
  function arrange() {
    const across = Math.floor((room - LABEL) / source.length);
    const tall = across < LEAST_CELL;
    const cell = tall ? Math.floor((room - LABEL) / Math.max(1, now.decoded.length)) : across;
    map.dataset.layout = tall ? "tall" : "wide";
    map.style.setProperty("--label", `${LABEL}px`);
    map.style.setProperty("--cell", `${Math.min(cell, MOST_CELL)}px`);
    map.style.setProperty("--source", source.length);
  }

  function update() {
    source = [...sourcesOf(model.get("text"))[0]];
    now = translate(packed, source.join(""));
    hovered = null;
    typed.show(model.get("text"));
    const makeRadio = (t) => make("input", { type: "radio", name: group, value: t });
    fit(writtenLine, now.decoded.length, (t) => make("label", { "data-row": t }, makeRadio(t), "")).forEach((label, t) => {
      const name = `${now.decoded[t]}, character ${t + 1} of ${now.decoded.length} written`;
      label.firstChild.setAttribute("aria-label", name);
      write(label.lastChild, visible(now.decoded[t]));
    });
    fit(sourceLine, source.length, () =>
      make("span", { class: "tb-align-character" }, make("b"), make("small")),
    ).forEach((part, s) => write(part.firstChild, visible(source[s])));
    const [head, ...rows] = fit(map, now.decoded.length + 1, (t) =>
      make("div", { class: "tb-align-row", ...(t > 0 && { "data-row": t - 1 }) }, make("b")),
    );
    fit(head, source.length + 1, () => make("b")).forEach((part, s) => write(part, s > 0 ? visible(source[s - 1]) : ""));
    rows.forEach((row, t) => {
      const [name, ...cells] = fit(row, source.length + 1, () => make("i"));
      write(name, visible(now.decoded[t]));
      cells.forEach((cell, s) => shade(cell, now.weights[t][s]));
    });
    arrange();
    show();
  }

  /** Show a share of a row as strength of the colour; next to nothing is no colour. @param {HTMLElement} cell @param {number} share */
  function shade(cell, share) {
    const before = cell.style.getPropertyValue("--share");
    const now = share < 0.001 ? "" : `${(100 * share).toFixed(1)}%`;
    if (before !== now) cell.style.setProperty("--share", now);
  }

  /** Light up one row: the one under the mouse, or the one chosen. */
  function show() {
    const chosen = Math.min(model.get("row"), now.decoded.length - 1);
    const row = hovered ?? chosen;
    writtenLine.querySelectorAll("input").forEach((radio, t) => (radio.checked = t === chosen));
    for (const part of root.querySelectorAll("[data-row]")) part.classList.toggle("lit", Number(part.dataset.row) === row);
    const result = `Written: ${now.decoded.join("") || "nothing"}.`;
    const weights = now.weights[row];
    [...sourceLine.children].forEach((part, s) => {
      const share = weights?.[s] ?? 0;
      part.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
      write(part.lastChild, share >= LEAST_NAMED ? String(Math.round(100 * share)) : "");
    });
    says.textContent = weights
      ? `${result} For its character ${row + 1}, “${now.decoded[row]}”, the network looked ${inWords(source, weights)}.`
      : result;
  }

  /** @param {string} text typed @returns {string} what is wrong with it */
  function read(text) {
    const problem = problemOf(packed.source_symbols, text);
    if (problem === "") send("text", text);
    return problem;
  }

  function send(name, value) {
    model.set(name, value);
    model.save_changes();
  }
  function rowOf(event) {
    const part = event.target.closest?.("[data-row]");
    return part ? Number(part.dataset.row) : null;
  }
  root.addEventListener("pointerover", (event) => {
    const before = hovered;
    hovered = rowOf(event);
    if (hovered !== before) show();
  });
  root.addEventListener("pointerleave", () => {
    hovered = null;
    show();
  });
  writtenLine.addEventListener("change", (event) => {
    hovered = null; // the arrow keys may have chosen another one than the mouse still points at
    send("row", rowOf(event));
    show();
  });
  map.addEventListener("click", (event) => {
    if (rowOf(event) !== null) send("row", rowOf(event));
  });

  // The controls are as wide as the matrix, but do not grow with it: a change of the matrix calls for no other.
  const resizing = new ResizeObserver((entries) => {
    room = entries[0].contentRect.width;
    arrange();
  });
  const listeners = { text: update, row: show };
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  update();
  el.append(root);
  resizing.observe(controls);
  return () => {
    for (const [name, listener] of Object.entries(listeners)) model.off(`change:${name}`, listener);
    resizing.disconnect();
    root.remove();
  };
}

export default { render };
