"""How right a prediction is: three measures on sequences of symbols, each a number for a whole test set."""

from collections.abc import Sequence

Sequences = Sequence[Sequence[str]]


def exact_match(predictions: Sequences, targets: Sequences) -> float:
    """Measure the share of predictions that are right from the first symbol to the last.

    Parameters
    ----------
    predictions, targets
        Equally many sequences of symbols, at least one.

    Raises
    ------
    ValueError
        There are none, or not equally many.
    """
    _check(predictions, targets)
    pairs = zip(predictions, targets, strict=True)
    return sum(list(prediction) == list(target) for prediction, target in pairs) / len(targets)


def token_accuracy(predictions: Sequences, targets: Sequences) -> float:
    """Measure the share of target symbols that stand at their own position in the prediction.

    A missing symbol is wrong; what a prediction has beyond the length of its target is not looked at. Every symbol
    counts alike, so long targets count for more.

    Parameters
    ----------
    predictions, targets
        Equally many sequences of symbols, with at least one symbol among the targets.

    Raises
    ------
    ValueError
        There are none, not equally many, or all targets are empty.
    """
    symbols = _check(predictions, targets, symbols=True)
    right = sum(
        ours == theirs
        for prediction, target in zip(predictions, targets, strict=True)
        for ours, theirs in zip(prediction, target, strict=False)
    )
    return right / symbols


def error_rate(predictions: Sequences, targets: Sequences) -> float:
    """Measure the edits it takes to mend all predictions, per symbol of the targets; it can exceed 1.

    On characters this is the character error rate, on phonemes the phoneme error rate.

    Parameters
    ----------
    predictions, targets
        Equally many sequences of symbols, with at least one symbol among the targets.

    Raises
    ------
    ValueError
        There are none, not equally many, or all targets are empty.
    """
    symbols = _check(predictions, targets, symbols=True)
    return sum(map(edit_distance, predictions, targets)) / symbols


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the fewest insertions, deletions and replacements of a symbol that turn one sequence into the other.

    Notes
    -----
    Source: Wagner & Fischer 1974.
    """
    above = list(range(len(second) + 1))  # above[j]: from the symbols of `first` so far to second[:j]
    for i, symbol in enumerate(first, start=1):
        row = [i]
        for j, other in enumerate(second, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (symbol != other)))
        above = row
    return above[-1]


def _check(predictions: Sequences, targets: Sequences, symbols: bool = False) -> int:
    """Check the arguments of a metric; return the number of symbols in the targets."""
    if not targets or len(predictions) != len(targets):
        raise ValueError(
            "predictions and targets: expected equally many, at least one, "
            f"got {len(predictions)} predictions and {len(targets)} targets"
        )
    total = sum(map(len, targets))
    if symbols and not total:
        raise ValueError("targets: expected at least one symbol, got only empty targets")
    return total
