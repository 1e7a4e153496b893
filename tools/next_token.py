"""Store what SmolLM2-135M-Instruct says after ten texts, for the widget *Next token*.

Run by hand, ``python tools/next_token.py``; it needs the source ``smollm2`` (92.9 MB, fetched once).
"""

import json
import sys

import torch

from transformer_book.tasks.published import load_smollm2
from transformer_book.widgets.next_token import DATA, distribution

TEXTS = (
    "The capital of France is",
    "Once upon a time, there was a little",
    "To be, or not to be, that is the",
    "The best thing about Mondays is",
    "I looked out of the window and saw",
    "2 + 2 =",
    "def factorial(n):\n    if n == 0:\n        return",
    "She put the book back on the",
    "My favourite colour is",
    "The opposite of hot is",
)


@torch.no_grad()
def main() -> None:
    """Read each text with the model and write the distributions to the package."""
    model, tokenizer = load_smollm2()
    tokens = [tokenizer.decode([id_], skip_special_tokens=False) for id_ in range(model.config.vocab_size)]
    found = []
    for text in TEXTS:
        logits = model(torch.tensor([tokenizer.encode(text).ids]))[0, -1]  # (V,)
        found.append(distribution(text, logits, tokens))
    about = {"model": "SmolLM2-135M-Instruct, Q4_1, Apache-2.0", "command": f"python {sys.argv[0]}"}
    text = json.dumps(about | {"distributions": found}, ensure_ascii=False, separators=(",", ":"))
    DATA.write_text(text + "\n", encoding="utf-8")
    print(f"{DATA.name}: {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
