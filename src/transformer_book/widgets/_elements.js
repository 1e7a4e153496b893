// What the views of the widgets are built with; imported by their modules.

/** Element with attributes and children. @param {string} tag @param {object} attributes @param {...any} children */
export function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "text", "path", "circle"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Give an element so many children, keeping those it has: making elements is what costs a frame most.
 * @param {Element} parent @param {number} count @param {(index: number) => Element} create @returns {Element[]} the children */
export function fit(parent, count, create) {
  while (parent.childElementCount > count) parent.lastElementChild.remove();
  while (parent.childElementCount < count) parent.append(create(parent.childElementCount));
  return [...parent.children];
}

/** Write a text, unless it stands there already. @param {Node} node @param {string} text */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * A field to type into, and the place that says what is wrong with what was typed.
 * @param {string} label @param {object} attributes of the input
 * @param {(text: string) => string} accept takes a text into use and returns "", or returns what is wrong with it
 */
export function makeTyped(label, attributes, accept) {
  const input = make("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
  const problem = make("p", { class: "tb-problem", role: "alert", hidden: "" });
  function complain(text) {
    problem.textContent = text;
    problem.hidden = text === "";
    input.setAttribute("aria-invalid", String(text !== ""));
  }
  input.addEventListener("input", () => complain(accept(input.value)));
  input.addEventListener("keydown", (event) => event.stopPropagation()); // letters are commands of some notebooks
  const control = make("div", { class: "tb-control tb-typed" }, make("label", {}, label, input));
  /** Show the text in use, which something else may have changed. */
  function show(text) {
    if (input.value !== text) input.value = text; // writing the same again would move the caret
    complain("");
  }
  return { control, problem, show };
}
