"""What every exercise check shares: draw inputs, call the reader's function, name the mistake.

A check tries its cases in order, simple ones first, and speaks of the first one that goes wrong. There it
compares the reader's result with those of known wrong answers; one that gives the same result names the
mistake.
"""

import inspect
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Answer = Callable[..., Any]

# Relative tolerances; a tenth of each is the absolute one.
_ROUGH = 1e-4  # rounding of float32
_SHARP = 1e-6  # what the same steps in float32 come to
_FINE = 1e-8  # what a result in float64 is held to
_KEEP = "Make constants on the inputs' dtype and device: torch.full_like(x, 0.0), or a plain Python number."
_SPOILT = "A NaN replaced afterwards still spoils the gradient; masked_fill before the softmax keeps it out."
_LONGEST_ERROR = 200  # characters of a foreign error message that are passed on


@dataclass(frozen=True)
class Option:
    """One way to do one step of an answer.

    Parameters
    ----------
    part
        What does the step; handed to the function that builds the answer.
    name
        The mistake in a few words; empty for the right way.
    why
        What the mistake leads to, one line.
    """

    part: Any
    name: str = ""
    why: str = ""


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: what is wrong in it, and a function that does it."""

    wrong: tuple[Option, ...]
    answer: Answer


@dataclass(frozen=True)
class Case:
    """Inputs for one call of the reader's function.

    Parameters
    ----------
    name
        What is special about the inputs, to follow "wrong" and "right": "for two axes".
    inputs
        Arguments by name, passed in this order. If a tensor among them records gradients, the gradient of
        the result is compared too.
    hint
        What to look at if this is the first case that goes wrong; one line.
    """

    name: str
    inputs: Mapping[str, Any]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """What a right answer does, and what known wrong ones do.

    Parameters
    ----------
    returns
        What is to be returned, to follow "return".
    outputs
        Names of the tensors returned; one name: a bare tensor, several: a tuple.
    reference
        A right answer.
    mistakes
        Known wrong answers, those with the fewest mistakes first.
    passed
        What the reader has shown, to follow "✓".
    """

    returns: str
    outputs: tuple[str, ...]
    reference: Answer
    mistakes: Sequence[Mistake]
    passed: str


class Draw:
    """Fresh random tensors on the CPU, from a generator of its own: the reader's seed is left alone."""

    def __init__(self) -> None:
        self.generator = torch.Generator(device="cpu")
        self.generator.seed()

    def normal(
        self, *shape: int, std: float = 1.0, dtype: torch.dtype = torch.float32, grad: bool = False
    ) -> Tensor:
        """Draw normal entries of mean zero; with `grad` they record gradients."""
        drawn = torch.randn(shape, generator=self.generator, dtype=dtype, device="cpu")
        return (std * drawn).requires_grad_(grad)

    def uniform(
        self, low: float, high: float, *shape: int, dtype: torch.dtype = torch.float32, grad: bool = False
    ) -> Tensor:
        """Draw entries between `low` and `high`; with `grad` they record gradients."""
        drawn = torch.rand(shape, generator=self.generator, dtype=dtype, device="cpu")
        return (low + (high - low) * drawn).requires_grad_(grad)

    def mask(self, *shape: int) -> Tensor:
        """Draw a boolean mask: along each of its last three axes longer than one, some True and some False."""
        axes = [axis for axis in range(-min(3, len(shape)), 0) if shape[axis] > 1]
        while True:
            mask = torch.rand(shape, generator=self.generator, device="cpu") < 0.5
            if all(mask.any(axis).all() and not mask.all(axis).any() for axis in axes):
                return mask

    def whole(self, low: int, high: int) -> int:
        """Draw an integer from `low` to `high`, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator, device="cpu"))


def combinations(build: Callable[..., Answer], *steps: Sequence[Option], most: int = 2) -> list[Mistake]:
    """List the wrong answers that take one option for each step, with at most `most` mistakes, fewest first.

    Parameters
    ----------
    build
        Takes one `Option.part` for each step and returns the answer made of them.
    steps
        The options for each step.
    most
        Largest number of mistakes in one answer.
    """
    found = []
    for choice in itertools.product(*steps):
        wrong = tuple(option for option in choice if option.name)
        if 0 < len(wrong) <= most:
            found.append(Mistake(wrong, build(*(option.part for option in choice))))
    return sorted(found, key=lambda mistake: len(mistake.wrong))


def judge(answer: Answer, exercise: Exercise, cases: Sequence[Case]) -> str:
    """Say whether `answer` is right, and if not, what is wrong with it.

    Parameters
    ----------
    answer
        The reader's function.
    exercise
        What a right answer does.
    cases
        What to call it with, simple cases first.

    Returns
    -------
    str
        Feedback whose first line starts with "✓ ", "✗ " or "○ ".
    """
    if not callable(answer):
        kind = type(answer).__name__
        return f"✗ expected a function, got {kind}\n  Hand over the function's name, without calling it."
    with torch.device("cpu"), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, case in enumerate(cases):
            complaint = _complaint(answer, exercise, case, first=number == 0)
            if complaint:
                return complaint
    return f"✓ {exercise.passed}"


def _complaint(answer: Answer, exercise: Exercise, case: Case, first: bool) -> str:
    """Say what is wrong with `answer` in one case; empty if nothing is."""
    inputs = _copy(case.inputs)
    unwritten = f"○ not written yet: return {exercise.returns}"
    try:
        result = answer(*inputs.values())
    except Exception as error:
        if isinstance(error, NotImplementedError) and _raises_itself(answer):
            return unwritten
        return _raised(error, case)
    if result is None and first:
        return unwritten
    for name, before in case.inputs.items():
        if not _same(_flat(inputs[name]), _flat(before)):
            return (
                f"✗ your function changes its input {name} in place\n"
                "  The caller still needs it. Make a new one: masked_fill, not masked_fill_; x = 2 * x, not x *= 2"
            )
    got = _tensors(result, len(exercise.outputs))
    if got is None:
        expected = "a tensor" if len(exercise.outputs) == 1 else f"a tuple of {len(exercise.outputs)} tensors"
        return f"✗ expected {expected}, got {_kind(result)}\n  Return {exercise.returns}."
    reference_inputs = _copy(case.inputs)
    expected = _flat(exercise.reference(*reference_inputs.values()))
    complaint = _difference(got, expected, exercise, case)
    if complaint or not any(tensor.requires_grad for tensor in _flat(inputs)):
        return complaint
    try:
        return _gradient_difference(got, inputs, expected, reference_inputs, case)
    except RuntimeError as error:
        return (
            f"✗ right values, but backward() raises {_error_text(error)}\n"
            "  A step in place (x *= 2, x[i] = 0, masked_fill_) has overwritten what the gradient needs."
        )


def _difference(got: list[Tensor], expected: list[Tensor], exercise: Exercise, case: Case) -> str:
    """Say how the result differs from the right one; empty if it does not."""
    for name, ours, right in zip(exercise.outputs, got, expected, strict=True):
        if ours.layout != torch.strided or ours.is_quantized:
            return f"✗ {name}: expected an ordinary dense tensor, got {ours.layout}, {ours.dtype}"
        if ours.device != right.device:
            return f"✗ {name}: expected a tensor on {right.device}, got one on {ours.device}\n  {_KEEP}"
    mistake = None if _close(got, expected) else _made(got, exercise, case)
    if mistake:
        names = "; and ".join(option.name for option in mistake.wrong)
        feedback = "\n  ".join([f"✗ {names}", *(option.why for option in mistake.wrong)])
        drawn = expected[0].dtype == torch.bool and got[0].shape == expected[0].shape
        return f"{feedback}\n  {_called(case)}: {_where(got[0], expected[0])}." if drawn else feedback
    for name, ours, right in zip(exercise.outputs, got, expected, strict=True):
        if ours.shape != right.shape:
            return (
                f"✗ {name}: expected shape {tuple(right.shape)}, got {tuple(ours.shape)}\n"
                f"  {_called(case)}. {case.hint}"
            )
        if ours.dtype != right.dtype:
            advice = "A comparison such as a <= b gives booleans." if right.dtype == torch.bool else _KEEP
            return f"✗ {name}: expected {right.dtype}, got {ours.dtype}\n  {advice}"
    for name, ours, right in zip(exercise.outputs, got, expected, strict=True):
        if not _close([ours], [right]):
            return f"✗ {name}: wrong {case.name}\n  {case.hint}\n  {_called(case)}: {_where(ours, right)}."
        if right.dtype == torch.float64 and not _close([ours], [right], _FINE):
            return (
                f"✗ {name}: right to a few digits only, though the inputs are {right.dtype}\n"
                "  A part is computed in float32, or a small constant is added."
            )
    return ""


def _made(got: list[Tensor], exercise: Exercise, case: Case) -> Mistake | None:
    """Find the mistake that gives this result: the first that agrees sharply, or else the first that does roughly.

    Roughly, a single number agrees by chance with that of another mistake once in some thousand draws.
    """
    roughly = None
    for mistake in exercise.mistakes:
        theirs = _attempt(mistake.answer, case)
        if _close(got, theirs):
            if _close(got, theirs, _SHARP):
                return mistake
            roughly = roughly or mistake
    return roughly


def _gradient_difference(
    got: list[Tensor],
    inputs: Mapping[str, Any],
    expected: list[Tensor],
    reference_inputs: Mapping[str, Any],
    case: Case,
) -> str:
    """Say how the gradient differs from that of the right answer; empty if it does not."""
    directions = [torch.linspace(1, 2, e.numel(), dtype=e.dtype).view_as(e) for e in expected]
    ours = _gradients(got, directions, inputs)
    right = _gradients(expected, directions, reference_inputs)
    for name in inputs:
        if not right[name]:
            continue
        lost = [gradient is None for gradient in ours[name]]
        if any(lost):
            return (
                f"✗ right values, but no gradient reaches {name if all(lost) else f'a part of {name}'}\n"
                "  Something cuts it off: detach(), item(), torch.no_grad(), .data or NumPy."
            )
        if not _close([g for g in ours[name] if g is not None], [g for g in right[name] if g is not None]):
            if any(gradient is not None and gradient.isnan().any() for gradient in ours[name]):
                return f"✗ right values, but NaN in the gradient of {name}\n  {_SPOILT}"
            return f"✗ right values, but a wrong gradient of {name}\n  {case.hint}"
    return ""


def _gradients(
    outputs: list[Tensor], directions: list[Tensor], inputs: Mapping[str, Any]
) -> dict[str, list[Tensor | None]]:
    """Differentiate the outputs along `directions` by every input that records gradients."""
    leaves = {name: [t for t in _flat(value) if t.requires_grad] for name, value in inputs.items()}
    terms = [(o * d).sum() for o, d in zip(outputs, directions, strict=True) if o.requires_grad]
    if not terms:
        return {name: [None] * len(tensors) for name, tensors in leaves.items()}
    every = [tensor for tensors in leaves.values() for tensor in tensors]
    gradients = iter(torch.autograd.grad(sum(terms, torch.zeros(())), every, allow_unused=True))
    return {name: [next(gradients) for _ in tensors] for name, tensors in leaves.items()}


def _attempt(answer: Answer, case: Case) -> list[Tensor]:
    """Return what a known wrong answer gives; nothing if it fails."""
    try:
        return _flat(answer(*_copy(case.inputs).values()))
    except (RuntimeError, IndexError):  # a mistake that cannot be made with these shapes
        return []


def _raised(error: Exception, case: Case) -> str:
    """Pass on the reader's exception, with what the function was called with."""
    return f"✗ your function raised {_error_text(error)}\n  {_called(case)}. {case.hint}"


def _error_text(error: Exception) -> str:
    """Write the type of an exception and the start of its message."""
    text = str(error).strip().partition("\n")[0]
    text = text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]} …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _raises_itself(answer: Answer) -> bool:
    """Tell a stub's own NotImplementedError from that of a torch operation missing for some dtype."""
    return "NotImplementedError" in getattr(getattr(inspect.unwrap(answer), "__code__", None), "co_names", ())


def _copy(value: Any) -> Any:
    """Copy tensors, also inside mappings and tuples, so that no call can touch what another one sees."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, Mapping):
        return {name: _copy(part) for name, part in value.items()}
    return tuple(_copy(part) for part in value) if isinstance(value, tuple) else value


def _flat(value: Any) -> list[Tensor]:
    """List the tensors in a value."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
    return [tensor for part in parts for tensor in _flat(part)]


def _tensors(result: Any, count: int) -> list[Tensor] | None:
    """Read the reader's result as `count` tensors; None if it is something else."""
    parts = [result] if count == 1 else list(result) if isinstance(result, tuple | list) else []
    return parts if len(parts) == count and all(isinstance(part, Tensor) for part in parts) else None


def _same(got: list[Tensor], before: list[Tensor]) -> bool:
    """Tell whether inputs are what they were, NaN included."""
    return all(
        g.shape == b.shape and g.dtype == b.dtype and torch.equal(g.detach().nan_to_num(), b.detach().nan_to_num())
        for g, b in zip(got, before, strict=True)
    )


def _close(got: list[Tensor], expected: list[Tensor], tolerance: float = _ROUGH) -> bool:
    """Tell whether shapes agree and values are equal but for rounding; NaN equals NaN."""
    return len(got) == len(expected) and all(
        g.shape == e.shape and bool(_near(g, e, tolerance).all()) for g, e in zip(got, expected, strict=True)
    )


def _near(got: Tensor, expected: Tensor, tolerance: float) -> Tensor:
    """Mark the entries that are equal but for rounding."""
    wide = [tensor.detach().to(torch.float64) for tensor in (got, expected)]
    return torch.isclose(*wide, rtol=tolerance, atol=tolerance / 10, equal_nan=True)


def _where(got: Tensor, expected: Tensor) -> str:
    """Say where two tensors of one shape differ, and how."""
    different = ~_near(got, expected, _ROUGH)
    index = [int(i) for i in different.nonzero()[0]]
    if expected.dtype == torch.bool:
        row = index[0]
        return f"row {row} should be {_row(expected[row])}, is {_row(got[row])} (● may attend, ○ may not)"
    ratio = got.detach() / expected.detach()
    if torch.allclose(ratio, ratio.mean(), rtol=_ROUGH):
        return f"every entry is {float(ratio.mean()):.3g} times the right one"
    at = tuple(index)
    return (
        f"{int(different.sum())} of {different.numel()} entries differ, the first at {index}: "
        f"expected {float(expected[at]):.4g}, got {float(got[at]):.4g}"
    )


def _row(mask: Tensor) -> str:
    """Draw a row of a mask."""
    return "".join("●" if entry else "○" for entry in mask.tolist())


def _kind(result: Any) -> str:
    """Name the type of a result, with the length of a tuple or list."""
    kind = type(result).__name__
    return f"a {kind} of {len(result)}" if isinstance(result, tuple | list) else kind


def _called(case: Case) -> str:
    """Write what the function was called with: ``Called with query (5, 11), key (7, 11)``."""
    parts = []
    for name, value in case.inputs.items():
        tensors = _flat(value)
        parts.append(f"{name} " + " ".join(str(tuple(t.shape)) for t in tensors) if tensors else f"{name} {value}")
    return f"Called with {', '.join(parts)}"
