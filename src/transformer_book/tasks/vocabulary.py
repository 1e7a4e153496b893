"""Symbols and their ids: one vocabulary class for all tasks."""

from collections.abc import Iterable, Sequence

PAD, START, END = 0, 1, 2
NUM_SPECIAL = 3


class Vocabulary:
    """Number the symbols of a task: ids 0, 1, 2 are padding, start and end, the symbols follow in their order.

    Parameters
    ----------
    symbols
        The symbols, each once: characters, phonemes, words. No special ones.

    Raises
    ------
    ValueError
        There are no symbols, or one stands there twice.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        self._ids = {symbol: id_ for id_, symbol in enumerate(self.symbols, start=NUM_SPECIAL)}
        if not self.symbols or len(self._ids) < len(self.symbols):
            twice = sorted({symbol for symbol in self.symbols if self.symbols.count(symbol) > 1})
            got = f"{', '.join(map(repr, twice))} twice" if twice else "none"
            raise ValueError(f"symbols: expected at least one, each once, got {got}")

    def __len__(self) -> int:
        """Count the ids, the three special ones included."""
        return NUM_SPECIAL + len(self.symbols)

    def encode(self, sequence: Sequence[str]) -> list[int]:
        """Turn symbols into ids; nothing is added at either end.

        Raises
        ------
        ValueError
            A symbol is unknown; the message names it and its position, counted from 0.
        """
        try:
            return [self._ids[symbol] for symbol in sequence]
        except KeyError as error:
            unknown = error.args[0]
            position = list(sequence).index(unknown)
            raise ValueError(
                f"sequence: expected only symbols of the vocabulary, got {unknown!r} at position {position}"
            ) from None

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Turn ids into symbols, up to the first end; padding and start are left out.

        Raises
        ------
        ValueError
            An id before the end is not in 0 … len(vocabulary) − 1.
        """
        symbols = []
        for id_ in ids:
            if id_ == END:
                break
            if not 0 <= id_ < len(self):
                raise ValueError(f"ids: expected values in 0 … {len(self) - 1}, got {id_}")
            if id_ >= NUM_SPECIAL:
                symbols.append(self.symbols[id_ - NUM_SPECIAL])
        return symbols
