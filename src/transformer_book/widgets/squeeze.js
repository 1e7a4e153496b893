// Squeeze. Arithmetic first, as pure functions that are tested against the Python package; then the view.
import { make, makeTyped } from "./_elements.js";
import { run, toIds, toSymbols } from "./_network.js";

/** @typedef {import("./_network.js").Packed} Packed */

/**
 * Pass a string through one context vector.
 * @param {Packed} packed @param {string} source digits
 * @returns {{ context: number[], decoded: string }} stopped after one digit more than it should write
 */
export function squeeze(packed, source) {
  const { context, ids } = run(packed, toIds(packed.source_symbols, source), source.length + 1);
  return { context, decoded: toSymbols(packed.target_symbols, ids).join("") };
}

/** The string at another length: cut, or continued by the offered string that begins alike.
 * @param {string} source @param {number} length @param {string[]} strings @returns {string} */
export function resized(source, length, strings) {
  const offered = strings.find((string) => string[0] === source[0]);
  return (source + offered.slice(source.length)).slice(0, length);
}

/** The next string offered, as long as the one before. @param {string} source @param {string[]} strings @returns {string} */
export function following(source, strings) {
  const place = strings.findIndex((string) => string[0] === source[0]);
  return strings[(place + 1) % strings.length].slice(0, source.length);
}

const DIGIT_BITS = Math.log2(10);

// Sizes in CSS pixels.
const CELL = 25;
const LABEL = 58;

/** A row of one line of the comparison. @param {string} kind @param {string} name @param {HTMLElement[]} cells */
function tableRow(kind, name, cells) {
  const header = make("div", { role: "rowheader", class: "tb-squeeze-label" }, name);
  return make("div", { role: "row", class: `tb-squeeze-row tb-squeeze-${kind}` }, header, ...cells);
}

/** @param {string | Node} content @param {string} [kind] */
function tableCell(content, kind = "") {
  return make("div", { role: "cell", class: `tb-squeeze-cell ${kind}` }, content);
}

/** Some positions of the comparison, one below the other: position, read, written, bits left. */
function comparison(positions, source, decoded, bits) {
  const written = positions.map((t) => {
    const right = decoded[t] === source[t];
    const cell = tableCell(decoded[t] ?? "–", right ? "" : "wrong");
    if (!right) cell.append(make("span", { role: "img", "aria-label": "wrong" }, "✗"));
    return cell;
  });
  const bars = positions.map((t) => {
    if (bits[t] === undefined) return tableCell("");
    const height = `height: ${((100 * bits[t]) / DIGIT_BITS).toFixed(1)}%`;
    const cell = tableCell(make("span", { class: "tb-squeeze-bar", style: height }));
    cell.append(make("span", { class: "tb-squeeze-bits" }, bits[t].toFixed(1)));
    return cell;
  });
  return make(
    "div",
    { role: "table", class: "tb-squeeze-line", "aria-label": `positions ${positions[0] + 1} to ${positions.at(-1) + 1}` },
    tableRow("place", "position", positions.map((t) => tableCell(String(t + 1)))),
    tableRow("read", "read", positions.map((t) => tableCell(source[t] ?? "–"))),
    tableRow("written", "written", written),
    tableRow("left", "bits left, at least", bars),
  );
}

function render({ model, el }) {
  const widths = model.get("widths");
  const strings = model.get("strings");
  const longest = strings[0].length;

  const lengthInput = make("input", { type: "range", min: 1, max: longest, step: 1 });
  const lengthOutput = make("output");
  const group = `tb-squeeze-${Math.random().toString(36).slice(2)}`; // two widgets on one page must not share radios
  const radios = widths.map((width) => make("input", { type: "radio", name: group, value: width }));
  const nextButton = make("button", { type: "button" }, "new string");
  const typed = makeTyped("string", { inputmode: "numeric", maxlength: longest }, read);
  const cells = Array.from({ length: widths.at(-1) }, () => make("span", {}, make("i")));
  const strip = make("div", { class: "tb-squeeze-strip", "aria-hidden": "true" }, ...cells);
  const caption = make("figcaption");
  const lines = make("div", { class: "tb-squeeze-lines" });
  const says = make("p", { class: "tb-squeeze-says", "aria-live": "polite" });
  const controls = make(
    "div",
    { class: "tb-controls" },
    make("div", { class: "tb-control tb-squeeze-length" }, make("label", {}, "length", lengthInput), lengthOutput),
    make(
      "div",
      { class: "tb-choice", role: "radiogroup", "aria-label": "width of the state" },
      "state width",
      ...widths.map((width, i) => make("label", {}, radios[i], String(width))),
    ),
    nextButton,
    typed.control,
  );
  const root = make(
    "div",
    { class: "tb-root tb-squeeze", role: "group", "aria-label": "Squeeze: a string through one context vector" },
    controls,
    typed.problem,
    make("figure", { class: "tb-squeeze-context" }, caption, strip),
    lines,
    says,
  );
  root.style.setProperty("--cell", `${CELL}px`);
  root.style.setProperty("--label", `${LABEL}px`);

  let decoded = "";
  let perLine = 1;

  /** Lines of equal length, as few as the width allows. */
  function layOut() {
    const source = model.get("source");
    const bits = model.get("probe")[widths.indexOf(model.get("width"))][source.length - 1];
    const count = Math.max(source.length, decoded.length);
    const columns = Math.ceil(count / Math.ceil(count / perLine));
    const positions = Array.from({ length: count }, (_, t) => t);
    const chunks = [];
    while (positions.length > 0) chunks.push(positions.splice(0, columns));
    lines.replaceChildren(...chunks.map((chunk) => comparison(chunk, source, decoded, bits)));
  }

  function update() {
    const source = model.get("source");
    const width = model.get("width");
    const at = widths.indexOf(width);
    const result = squeeze(model.get("networks")[at], source);
    decoded = result.decoded;
    typed.show(source);
    lengthInput.value = source.length;
    lengthInput.setAttribute("aria-valuetext", `${source.length} digits`);
    lengthOutput.textContent = source.length;
    radios[at].checked = true;
    cells.forEach((cell, d) => {
      cell.hidden = d >= width;
      const number = result.context[d] ?? 0;
      cell.className = number < 0 ? "negative" : "";
      cell.firstChild.style.transform = `scaleY(${number.toFixed(3)})`;
    });
    strip.style.width = `${(100 * width) / widths.at(-1)}%`;
    caption.textContent = `The context vector: ${width} numbers in −1 … 1, all that the decoder is given`;
    layOut();
    says.textContent = summary(source, decoded, model.get("probe")[at][source.length - 1], width);
  }

  /** @param {string} text typed @returns {string} what is wrong with it */
  function read(text) {
    const other = [...text].find((letter) => !model.get("networks")[0].source_symbols.includes(letter));
    if (other !== undefined) return `The network knows only the digits 0 … 9, not “${other}”.`;
    if (text === "") return `Type 1 … ${longest} digits.`;
    send("source", text);
    return "";
  }

  function send(name, value) {
    model.set(name, value);
    model.save_changes();
  }
  lengthInput.addEventListener("input", () => send("source", resized(model.get("source"), Number(lengthInput.value), strings)));
  radios.forEach((radio, i) => radio.addEventListener("change", () => send("width", widths[i])));
  nextButton.addEventListener("click", () => send("source", following(model.get("source"), strings)));

  // The controls are as wide as the lines, but do not grow with them: a change of the lines calls for no other.
  const resizing = new ResizeObserver((entries) => {
    const fits = Math.max(1, Math.floor((entries[0].contentRect.width - LABEL) / CELL));
    if (fits === perLine) return;
    perLine = fits;
    layOut();
  });
  for (const name of ["source", "width"]) model.on(`change:${name}`, update);
  update();
  el.append(root);
  resizing.observe(controls);
  return () => {
    for (const name of ["source", "width"]) model.off(`change:${name}`, update);
    resizing.disconnect();
    root.remove();
  };
}

/** The result in sentences. @param {string} source @param {string} decoded @param {number[]} bits @param {number} width */
function summary(source, decoded, bits, width) {
  const wrong = [...source].flatMap((digit, t) => (decoded[t] === digit ? [] : [t + 1]));
  const first = wrong.length === 0 ? "" : `, the first wrong one at position ${wrong[0]}`;
  const surplus = decoded.length > source.length ? " It does not stop where the string ends." : "";
  const left = bits.reduce((sum, x) => sum + x, 0);
  return (
    `Width ${width}: ${source.length - wrong.length} of ${source.length} digits written right${first}.${surplus} ` +
    `Over all strings of this length a linear probe finds ${left.toFixed(1)} of ` +
    `${(source.length * DIGIT_BITS).toFixed(1)} bits in the context vector, at most ${DIGIT_BITS.toFixed(1)} a digit; ` +
    "there may be more that is not linear."
  );
}

export default { render };
