// Typesets formulas for offline_maths.py: reads one JSON line per formula, writes one JSON line per answer.
// Ends by itself when its input does.
"use strict";

const katex = require(process.argv[2]);
const lines = require("node:readline").createInterface({ input: process.stdin });

lines.on("line", (line) => {
  const { tex, display } = JSON.parse(line);
  let answer;
  try {
    // strict: what KaTeX accepts beyond LaTeX would not typeset in a notebook.
    answer = { html: katex.renderToString(tex, { displayMode: display, throwOnError: true, strict: "error" }) };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
