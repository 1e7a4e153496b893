"""Checks for the exercises of the chapter on training and decoding.

Each check takes the reader's function, calls it on fresh random inputs and prints one short feedback that
names the mistake. Axis letters are those of `transformer_book.shapes`; W beginnings stand in a beam.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from transformer_book.exercises._feedback import Answer, Case, Draw, Exercise, Option, combinations, judge

Triple = tuple[Tensor, Tensor, Tensor]

_DTYPE = "Right in float32, not in float64: constants must follow the inputs."
_GRADIENT = "Right without gradients: stay in torch, and out of place, from inputs to result."


# Exercise 1: the paper's schedule ---------------------------------------------------------------------------


def _schedule(count: Answer, size: Answer, rise: Answer, fall: Answer, join: Answer) -> Answer:
    def answer(step: Tensor, d_model: int, warmup: int) -> Tensor:
        step = count(step)
        return size(d_model) * join(rise(step, warmup), fall(step))

    return answer


_SCHEDULE = Exercise(
    returns="the learning rate of each step, shape (N,)",
    outputs=("rate",),
    reference=_schedule(
        lambda step: step,
        lambda width: width**-0.5,
        lambda step, warmup: step * warmup**-1.5,
        lambda step: step**-0.5,
        torch.minimum,
    ),
    mistakes=combinations(
        _schedule,
        (
            Option(lambda step: step),
            Option(lambda step: step + 1, "one step late: step is counted from 1 already", "The first step is 1."),
            Option(lambda step: step - 1, "one step early", "The first step is 1, and its rate is not zero."),
        ),
        (
            Option(lambda width: width**-0.5),
            Option(lambda width: 1.0, "the width is left out", "Wider models get smaller steps: times 1/√D."),
            Option(lambda width: width**0.5, "times √D, not 1/√D", "Wider models get smaller steps."),
            Option(lambda width: 1 / width, "divided by D, not by √D", "The factor is D to the power −½."),
        ),
        (
            Option(lambda step, warmup: step * warmup**-1.5),
            Option(
                lambda step, warmup: step / warmup,
                "the rise is step / warmup: it does not meet the fall",
                "At the last step of the warm-up both are equal: warmup · warmup^−1.5 = warmup^−0.5.",
            ),
            Option(
                lambda step, warmup: step * warmup**-0.5,
                "the exponent of warmup is −1.5, not −0.5",
                "At the last step of the warm-up both are equal: warmup · warmup^−1.5 = warmup^−0.5.",
            ),
        ),
        (
            Option(lambda step: step**-0.5),
            Option(lambda step: 1 / step, "falls as 1/step, not as 1/√step", "The fall is step^−0.5."),
        ),
        (
            Option(torch.minimum),
            Option(
                torch.maximum,
                "the larger of the two, not the smaller",
                "The first step would have the largest rate of all.",
            ),
            Option(lambda rise, fall: fall, "no warm-up: only the fall", "Take the smaller of rise and fall."),
            Option(lambda rise, fall: rise, "it never falls", "Take the smaller of rise and fall."),
            Option(lambda rise, fall: rise * fall, "rise times fall", "Take the smaller of rise and fall."),
            Option(lambda rise, fall: rise + fall, "rise plus fall", "Take the smaller of rise and fall."),
        ),
    ),
    passed="the schedule of equation 3: up in a line, down as 1/√step",
)


def check_schedule(answer: Callable[[Tensor, int, int], Tensor]) -> None:
    """Check the paper's learning-rate schedule and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(step (N,) from 1 on, d_model, warmup) -> rate (N,)``.
    """
    draw = Draw()

    def inputs(count: int, d_model: int, warmup: int, dtype: torch.dtype = torch.float32) -> dict[str, object]:
        return {
            "step": torch.arange(1, count + 1, dtype=dtype, device="cpu"),
            "d_model": d_model,
            "warmup": warmup,
        }

    cases = (
        Case("before, at and after the end of the warm-up", inputs(11, 16, 5), "Equation 3 of the paper."),
        Case("for other sizes", inputs(101, 17, draw.whole(20, 60)), "Equation 3 of the paper."),
        Case("in float64", inputs(13, 16, 5, torch.float64), _DTYPE),
    )
    print(judge(answer, _SCHEDULE, cases))


# Exercise 2: label smoothing --------------------------------------------------------------------------------


def _smoothing(log: Answer, keep: Answer, spread: Answer, end: Answer) -> Answer:
    def answer(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
        logs = log(logits)  # (N, V)
        right = logs.gather(-1, target[:, None])[:, 0]  # (N,)
        return end(keep(smoothing) * right + spread(smoothing, logs, right))

    return answer


_SMOOTHING = Exercise(
    returns="the mean over the N tokens, a tensor of no axes",
    outputs=("loss",),
    reference=_smoothing(
        lambda logits: logits.log_softmax(-1),
        lambda smoothing: 1 - smoothing,
        lambda smoothing, logs, right: smoothing * logs.mean(-1),
        lambda sums: -sums.mean(),
    ),
    mistakes=combinations(
        _smoothing,
        (
            Option(lambda logits: logits.log_softmax(-1)),
            Option(
                lambda logits: logits.softmax(-1).log(),
                "the logarithm of a softmax: infinite where a probability is zero",
                "float32 rounds small probabilities to zero, and log 0 is −inf. log_softmax never forms them.",
            ),
            Option(
                lambda logits: (logits.softmax(-1) + 1e-9).log(),
                "a small constant inside the logarithm",
                "It sets a floor: what is less probable than it costs no more. log_softmax needs none.",
            ),
            Option(
                lambda logits: logits.log_softmax(0),
                "softmax over the tokens, not over the vocabulary",
                "Each row of logits is one distribution: the last axis.",
            ),
            Option(
                lambda logits: logits,
                "no softmax",
                "Logits are no log-probabilities: use log_softmax.",
            ),
        ),
        (
            Option(lambda smoothing: 1 - smoothing),
            Option(
                lambda smoothing: 1.0,
                "the right token keeps all of its probability",
                "What is spread has to be taken away: 1 − ε stays. In all they sum to one.",
            ),
            Option(lambda smoothing: smoothing, "the right token gets ε, not 1 − ε", "ε is the part taken away."),
        ),
        (
            Option(lambda smoothing, logs, right: smoothing * logs.mean(-1)),
            Option(
                lambda smoothing, logs, right: smoothing * logs.sum(-1),
                "each token gets ε, not ε / V",
                "ε is shared out: ε / V to each of the V tokens, so their mean times ε.",
            ),
            Option(
                lambda smoothing, logs, right: smoothing * (logs.sum(-1) - right) / (logs.shape[-1] - 1),
                "spread over the other tokens only",
                "Here, as in the paper's source and in PyTorch, the right token gets its share ε / V too.",
            ),
            Option(
                lambda smoothing, logs, right: (1 - smoothing) * logs.mean(-1),
                "1 − ε is spread, not ε",
                "ε is the part that is spread.",
            ),
            Option(lambda smoothing, logs, right: 0.0, "nothing is spread", "ε / V goes to each token."),
        ),
        (
            Option(lambda sums: -sums.mean()),
            Option(lambda sums: sums.mean(), "the sign is missing", "A loss is −log p: not negative."),
            Option(lambda sums: -sums.sum(), "summed over the tokens, not averaged", "Divide by N."),
            Option(lambda sums: -sums, "not averaged over the tokens", "One number: the mean of the N."),
        ),
    ),
    passed="smoothed, and finite where a probability is zero",
)


def check_smoothed_loss(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Check a cross-entropy with label smoothing and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(logits (N, V), target (N,), smoothing) -> loss``, a number in nats per token.
    """
    draw = Draw()

    def inputs(
        count: int, vocabulary: int, smoothing: float, std: float = 1.0, **kind: object
    ) -> dict[str, object]:
        target = torch.randint(vocabulary, (count,), generator=draw.generator, device="cpu")
        logits = draw.normal(count, vocabulary, std=std, **kind)  # type: ignore[arg-type]
        return {"logits": logits, "target": target, "smoothing": smoothing}

    cases = (
        Case("for ordinary logits", inputs(5, 7, 0.1), "−(1 − ε) log p(right) − ε · mean over V of log p."),
        Case(
            "where probabilities are zero in float32",
            inputs(5, 11, 0.1, std=300.0),
            "log_softmax needs nothing inside.",
        ),
        Case("without smoothing", inputs(3, 7, 0.0), "With ε = 0 it is the cross-entropy."),
        Case("in float64", inputs(5, 7, 0.2, dtype=torch.float64), _DTYPE),
        Case("with gradients", inputs(5, 7, 0.1, grad=True), _GRADIENT),
    )
    print(judge(answer, _SMOOTHING, cases))


# Exercise 3: an average in the memory of one ----------------------------------------------------------------

_AVERAGE = Exercise(
    returns="the mean of the count + 1 weights, of their shape",
    outputs=("average",),
    reference=lambda average, weights, count: average + (weights - average) / (count + 1),
    mistakes=combinations(
        lambda update: update,
        (
            Option(lambda average, weights, count: average + (weights - average) / (count + 1)),
            Option(
                lambda average, weights, count: (average + weights) / 2,
                "half of the old, half of the new",
                "Then the newest counts as much as all before it together.",
            ),
            Option(
                lambda average, weights, count: average + (weights - average) / count,
                "divided by count: with the new one there are count + 1",
                "After the first average (count 1) only the newest would be left.",
            ),
            Option(
                lambda average, weights, count: average + weights,
                "added, not averaged",
                "Weigh the old mean by count, add the new weights, divide by count + 1.",
            ),
            Option(
                lambda average, weights, count: (average + weights) / (count + 1),
                "the old mean counts as one, not as count",
                "It stands for count weights: (count · average + weights) / (count + 1).",
            ),
            Option(
                lambda average, weights, count: count * average + weights,
                "a sum: not divided by count + 1",
                "Weigh the old mean by count, add the new weights, divide by count + 1.",
            ),
            Option(
                lambda average, weights, count: (average + count * weights) / (count + 1),
                "old and new exchanged",
                "The old mean stands for count weights, the new ones for one.",
            ),
            Option(lambda average, weights, count: weights + 0, "the newest weights alone", "Average them."),
        ),
    ),
    passed="a mean of any number of checkpoints, in the memory of one",
)


def check_running_average(answer: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Check the updating of a mean by one more set of weights and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(average, weights, count) -> average``; `average` is the mean of `count` tensors of the same shape.
    """
    draw = Draw()

    def inputs(count: int, dtype: torch.dtype = torch.float32) -> dict[str, object]:
        average, weights = draw.normal(3, 5, dtype=dtype), draw.normal(3, 5, dtype=dtype)
        return {"average": average, "weights": weights, "count": count}

    cases = (
        Case("for the fourth weights", inputs(3), "(count · average + weights) / (count + 1)."),
        Case("for the second weights", inputs(1), "The mean of two."),
        Case("for the first weights", inputs(0), "There is nothing to keep: the mean of one is itself."),
        Case("in float64", inputs(7, torch.float64), _DTYPE),
    )
    print(judge(answer, _AVERAGE, cases))


# Exercise 4: one step of a beam -----------------------------------------------------------------------------


def _beam(combine: Answer, pick: Answer, part: Answer) -> Answer:
    def answer(totals: Tensor, steps: Tensor, size: int) -> Triple:
        sums = combine(totals, steps)  # (W, V)
        best, index = pick(sums, size)
        return (best, *part(index, sums.shape))

    return answer


def _best_of_each(sums: Tensor, size: int) -> tuple[Tensor, Tensor]:
    best, token = sums.max(-1)
    best, row = best.topk(min(size, len(best)))
    return best, row * sums.shape[1] + token[row]


_BEAM = Exercise(
    returns="(totals, parents, tokens), each of shape (size,)",
    outputs=("totals", "parents", "tokens"),
    reference=_beam(
        lambda totals, steps: totals[:, None] + steps,
        lambda sums, size: sums.flatten().topk(size),
        lambda index, shape: (index // shape[1], index % shape[1]),
    ),
    mistakes=combinations(
        _beam,
        (
            Option(lambda totals, steps: totals[:, None] + steps),
            Option(
                lambda totals, steps: totals[:, None] * steps,
                "logarithms multiplied: they are added",
                "Probabilities multiply, so their logarithms add.",
            ),
            Option(
                lambda totals, steps: 0 * totals[:, None] + steps,
                "the past forgotten: only the last step is compared",
                "A beginning brings its own sum along.",
            ),
            Option(
                lambda totals, steps: totals[:, None].exp() + steps.exp(),
                "probabilities added",
                "Probabilities multiply, so their logarithms add.",
            ),
            Option(
                lambda totals, steps: totals[:, None].exp() * steps.exp(),
                "totals returned as probabilities",
                "Keep logarithms: products of many probabilities are zero in float32.",
            ),
        ),
        (
            Option(lambda sums, size: sums.flatten().topk(size)),
            Option(
                lambda sums, size: sums.flatten().topk(size, largest=False),
                "the worst kept, not the best",
                "The largest sums of log-probabilities.",
            ),
            Option(
                _best_of_each,
                "the best of each beginning, not the best of all",
                "Two of the best may continue the same beginning, and one beginning may end here.",
            ),
        ),
        (
            Option(lambda index, shape: (index // shape[1], index % shape[1])),
            Option(
                lambda index, shape: (index % shape[1], index // shape[1]),
                "parents and tokens exchanged",
                "In the flattened (W, V) a row is V long: index // V is the row, index % V the token.",
            ),
            Option(
                lambda index, shape: (index // shape[0], index % shape[0]),
                "divided by W, not by V",
                "In the flattened (W, V) a row is V long: index // V is the row, index % V the token.",
            ),
        ),
    ),
    passed="one step of a beam: the best of all continuations, and whose they are",
)


def check_beam_step(answer: Callable[[Tensor, Tensor, int], Triple]) -> None:
    """Check one step of a beam search over one sequence and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(totals (W,), steps (W, V), size) -> (totals (size,), parents (size,), tokens (size,))``.
    """
    draw = Draw()

    def inputs(beams: int, vocabulary: int, size: int, dtype: torch.dtype = torch.float32) -> dict[str, object]:
        steps = draw.normal(beams, vocabulary, std=2.0, dtype=dtype).log_softmax(-1)
        return {"totals": draw.uniform(-3.0, -1.0, beams, dtype=dtype), "steps": steps, "size": size}

    favourite = inputs(3, 5, 3)
    favourite["totals"] = torch.tensor([-30.0, -1.0, -30.0], dtype=torch.float32, device="cpu")
    cases = (
        Case("from several", inputs(5, 7, 5), "The best of all W · V continuations, best first."),
        Case("from one beginning", inputs(1, 7, 3), "The best next tokens, best first; all have parent 0."),
        Case("where one beginning is far ahead", favourite, "All of the best may continue the same one."),
        Case("in float64", inputs(3, 7, 2, torch.float64), _DTYPE),
    )
    print(judge(answer, _BEAM, cases))


# Exercise 5: top-p ------------------------------------------------------------------------------------------


def _top_p(descending: bool, keep: Answer, back: Answer, end: Answer) -> Answer:
    def answer(probabilities: Tensor, p: float) -> Tensor:
        ordered, order = probabilities.sort(dim=-1, descending=descending)
        kept = ordered * keep(ordered, p)  # (..., V)
        return end(back(kept, order))

    return answer


_TOP_P = Exercise(
    returns="probabilities of the same shape",
    outputs=("kept",),
    reference=_top_p(
        True,
        lambda ordered, p: ordered.cumsum(-1) - ordered < p,
        lambda kept, order: torch.zeros_like(kept).scatter(-1, order, kept),
        lambda kept: kept / kept.sum(-1, keepdim=True),
    ),
    mistakes=combinations(
        _top_p,
        (
            Option(True),
            Option(False, "the least probable first", "Sort with descending=True: the most probable are kept."),
        ),
        (
            Option(lambda ordered, p: ordered.cumsum(-1) - ordered < p),
            Option(
                lambda ordered, p: ordered.cumsum(-1) <= p,
                "the token that crosses p is dropped",
                "What is kept has to reach p. If the first token alone exceeds it, nothing would be left.",
            ),
            Option(
                lambda ordered, p: ordered >= p,
                "each probability compared with p, not their sum",
                "Keep the most probable ones until together they have p.",
            ),
            Option(
                lambda ordered, p: ordered.cumsum(-1) - ordered - ordered.roll(1, -1) < p,
                "one token too many",
                "Stop with the token that brings the sum to p.",
            ),
            Option(
                lambda ordered, p: torch.ones_like(ordered), "all kept", "What is beyond p has probability zero."
            ),
        ),
        (
            Option(lambda kept, order: torch.zeros_like(kept).scatter(-1, order, kept)),
            Option(
                lambda kept, order: kept,
                "left in sorted order: the probabilities belong to other tokens now",
                "Put each back where it came from: scatter(-1, order, …).",
            ),
            Option(
                lambda kept, order: kept.gather(-1, order),
                "gather, where scatter undoes a sort",
                "order[i] is where the i-th came from: scatter(-1, order, kept) writes it back there.",
            ),
        ),
        (
            Option(lambda kept: kept / kept.sum(-1, keepdim=True)),
            Option(lambda kept: kept, "not renormalised", "What is kept has to sum to one again."),
            Option(
                lambda kept: kept.softmax(-1),
                "a softmax over probabilities",
                "It turns zeros into something. Divide by the sum.",
            ),
        ),
    ),
    passed="the smallest set that has p, at its place, and sums to one",
)


def check_top_p(answer: Callable[[Tensor, float], Tensor]) -> None:
    """Check the keeping of the most probable tokens and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(probabilities (..., V), p) -> probabilities (..., V)``.
    """
    draw = Draw()

    def inputs(*shape: int, p: float, dtype: torch.dtype = torch.float32) -> dict[str, object]:
        return {"probabilities": draw.normal(*shape, std=1.5, dtype=dtype).softmax(-1), "p": p}

    by_hand = torch.tensor([0.1, 0.3, 0.2, 0.4], dtype=torch.float32, device="cpu")
    cases = (
        Case("for 0.1, 0.3, 0.2, 0.4 and p 0.5", {"probabilities": by_hand, "p": 0.5}, "Kept: 0.4 and 0.3."),
        Case("for one token above p", {"probabilities": by_hand, "p": 0.35}, "The first token stays, alone."),
        Case("for several rows", inputs(3, 2, 11, p=0.8), "Each row by itself: dim=-1."),
        Case("for p = 1", inputs(2, 7, p=1.0), "Everything stays."),
        Case("in float64", inputs(3, 7, p=0.6, dtype=torch.float64), _DTYPE),
    )
    print(judge(answer, _TOP_P, cases))


# Exercise 6: what a cache holds -----------------------------------------------------------------------------


def _cache(both: int, size: int, positions: Answer, layers: Answer, batch: Answer) -> Answer:
    def answer(length: Tensor, source_length: int, d_model: int, num_layers: int, batch_size: int) -> Tensor:
        count = positions(length, source_length) * d_model
        return both * size * layers(num_layers) * batch(batch_size) * count

    return answer


_CACHE = Exercise(
    returns="bytes after each length, shape (N,)",
    outputs=("bytes",),
    reference=_cache(2, 4, lambda own, source: own + source, lambda layers: layers, lambda batch: batch),
    mistakes=combinations(
        _cache,
        (Option(2), Option(1, "half of it", "Keys and values are kept, and a number in float32 has 4 bytes.")),
        (
            Option(4),
            Option(1, "numbers, not bytes", "A number in float32 has 4 bytes."),
        ),
        (
            Option(lambda own, source: own + source),
            Option(
                lambda own, source: own,
                "the source is left out",
                "Cross-attention keeps keys and values of all S source tokens.",
            ),
            Option(
                lambda own, source: own * source,
                "T · S: that is the table of weights, which nobody keeps",
                "Keys and values: T of the tokens written, S of the source.",
            ),
            Option(
                lambda own, source: own * own + source,
                "T²: each token adds its own key and value only",
                "Keys and values: T of the tokens written, S of the source.",
            ),
        ),
        (
            Option(lambda layers: layers),
            Option(lambda layers: 1, "one layer only", "Each layer of the decoder keeps its own."),
            Option(
                lambda layers: 2 * layers,
                "twice as much: are the encoder's layers in it?",
                "The encoder has run once and keeps nothing; a number in float32 has 4 bytes.",
            ),
        ),
        (
            Option(lambda batch: batch),
            Option(lambda batch: 1, "one sequence only", "Each of the B sequences keeps its own."),
        ),
    ),
    passed="the bytes of a cache: linear in everything, and no head in it",
)


def check_cache_bytes(answer: Callable[[Tensor, int, int, int, int], Tensor]) -> None:
    """Check the size of a cache of keys and values and print what is wrong with it.

    Parameters
    ----------
    answer
        ``(length (N,), source_length, d_model, num_layers, batch_size) -> bytes (N,)``, for float32.
    """
    draw = Draw()

    def inputs(source_length: int, num_layers: int, batch_size: int) -> dict[str, object]:
        width = 4 * draw.whole(5, 40)
        length = torch.tensor([1, draw.whole(2, 30), draw.whole(31, 60)], device="cpu")
        sizes = {"source_length": source_length, "d_model": width}
        return {"length": length, **sizes, "num_layers": num_layers, "batch_size": batch_size}

    cases = (
        Case("for one layer and one sequence", inputs(7, 1, 1), "2 · 4 · (T + S) · D bytes."),
        Case("for several layers and sequences", inputs(13, 3, 5), "Every layer and every sequence has its own."),
    )
    print(judge(answer, _CACHE, cases))
