// What the views of the widgets are built with; imported by their modules.

/** Element with attributes and children. @param {string} tag @param {object} attributes @param {...any} children */
export function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "text", "path", "circle"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
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
