// What the views of the widgets are built with; imported by their modules.

/** Element with attributes and children. @param {string} tag @param {object} attributes @param {...any} children */
export function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "text", "path", "circle"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
