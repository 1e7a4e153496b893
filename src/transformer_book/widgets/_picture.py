"""The Live Transformer as a still picture, for a page without JavaScript."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from transformer_book.tasks.vocabulary import END

if TYPE_CHECKING:
    from transformer_book.widgets.live_transformer import Reading

WIDE, LINE_AT, BARS_AT = 640, 210, 250
INK, MUTED, LINE, WEIGHT, ACCENT = "#1b1f24", "#485054", "#8c959f", "#66228a", "#af4c8b"
LEAST = 0.08  # a weight that is drawn, a probability that is printed

PICTURE_ALT = (
    "A still picture. Above, the characters read; below, the characters written; between them lines, the thicker "
    "the more the last layer's cross-attention looks there. At the bottom a bar for each character that may come "
    "next."
)


def draw_picture(reading: "Reading", symbols: Sequence[str], step: int) -> str:
    """Draw what was read and written, the cross-attention between them, and one distribution, as SVG.

    Lines show the last layer's cross-attention, averaged over the heads; bars the distribution at `step`.
    """
    step = min(step, len(reading.target) - 1)
    mean = reading.maps.cross[-1].mean(dim=0)  # (T, S)
    above = [WIDE / len(reading.source) * (s + 0.5) for s in range(len(reading.source))]
    below = [WIDE / len(reading.target) * (t + 0.5) for t in range(len(reading.target))]
    parts = [_text(12, 20, "reads", MUTED, anchor="start"), _text(12, 200, "writes", MUTED, anchor="start")]
    for t, row in enumerate(mean.tolist()):
        colour = ACCENT if t == step else WEIGHT
        for s, share in enumerate(row):
            if share >= LEAST:
                ends = f'x1="{above[s]:.1f}" y1="62" x2="{below[t]:.1f}" y2="{LINE_AT}"'
                parts.append(f'<line {ends} stroke="{colour}" stroke-width="{6 * share:.2f}" opacity="0.75"/>')
    parts += [_text(x, 52, _seen(symbol), INK, size=20) for x, symbol in zip(above, reading.source, strict=True)]
    for t, (x, symbol) in enumerate(zip(below, reading.target, strict=True)):
        parts.append(_text(x, 230, _seen(symbol), ACCENT if t == step else INK, size=20))
    shares = reading.logits[step].softmax(dim=-1).tolist()[END:]
    parts.append(_text(12, BARS_AT + 12, f"what character {step + 1} may be", MUTED, anchor="start"))
    for v, share in enumerate(shares):
        x = WIDE / len(shares) * (v + 0.5)
        place = f'x="{x - 12:.1f}" y="{340 - 48 * share:.1f}" width="24" height="{48 * share + 1:.1f}"'
        parts.append(f'<rect {place} fill="{WEIGHT}"/>')
        parts.append(_text(x, 358, _seen(symbols[END + v]), INK))
        if share >= LEAST:
            parts.append(_text(x, 335 - 48 * share, f"{share:.0%}", INK))
    size = f'viewBox="0 0 {WIDE} 370" width="{WIDE}"'
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return f'{frame}<rect width="{WIDE}" height="370" fill="#ffffff"/>{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, colour: str, *, size: int = 14, anchor: str = "middle") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"


def _seen(symbol: str) -> str:
    return "␣" if symbol == " " else symbol
