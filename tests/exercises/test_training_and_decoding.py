"""Mutation tests of the exercise checks: every known wrong answer gets its own message, right ones pass."""

import math

import torch
from exercise_checks import ExerciseChecks, feedback
from torch.nn import functional as F

from transformer_book.exercises import training_and_decoding as checks

# Exercise 1 ---------------------------------------------------------------------------------------------


def schedule(step, d_model, warmup):
    return (step.clamp(max=warmup) / warmup * (step.clamp(min=warmup)).rsqrt()) / (math.sqrt(d_model) * 1.0)


def right_schedule(step, d_model, warmup):
    return torch.stack([step / warmup / math.sqrt(warmup), step.rsqrt()]).amin(0) / math.sqrt(d_model)


SCHEDULE = [
    (lambda s, d, w: right_schedule(s + 1, d, w), "✗ one step late: step is counted from 1 already"),
    (lambda s, d, w: right_schedule(s - 1, d, w), "✗ one step early"),
    (lambda s, d, w: right_schedule(s, 1, w), "✗ the width is left out"),
    (lambda s, d, w: d * right_schedule(s, d, w), "✗ times √D, not 1/√D"),
    (lambda s, d, w: right_schedule(s, d * d, w), "✗ divided by D, not by √D"),
    (
        lambda s, d, w: torch.minimum(s / w, s.rsqrt()) / math.sqrt(d),
        "✗ the rise is step / warmup: it does not meet the fall",
    ),
    (
        lambda s, d, w: torch.minimum(s / math.sqrt(w), s.rsqrt()) / math.sqrt(d),
        "✗ the exponent of warmup is −1.5, not −0.5",
    ),
    (
        lambda s, d, w: torch.minimum(s / w**1.5, 1 / s) / math.sqrt(d),
        "✗ falls as 1/step, not as 1/√step",
    ),
    (
        lambda s, d, w: torch.maximum(s / w**1.5, s.rsqrt()) / math.sqrt(d),
        "✗ the larger of the two, not the smaller",
    ),
    (lambda s, d, w: s.rsqrt() / math.sqrt(d), "✗ no warm-up: only the fall"),
    (lambda s, d, w: s / w**1.5 / math.sqrt(d), "✗ it never falls"),
    (lambda s, d, w: s.sqrt() / w**1.5 / math.sqrt(d), "✗ rise times fall"),
    (lambda s, d, w: (s / w**1.5 + s.rsqrt()) / math.sqrt(d), "✗ rise plus fall"),
    (
        lambda s, d, w: torch.maximum(s / w**1.5, s.rsqrt()),
        "✗ the width is left out; and the larger of the two, not the smaller",
    ),
    (lambda s, d, w: right_schedule(s, d, w).float(), "✗ rate: expected torch.float64, got torch.float32"),
    (lambda s, d, w: 0.1 * right_schedule(s, d, w), "✗ rate: wrong before, at and after the end of the warm-up"),
    (lambda s, d, w: min(s, w), "✗ your function raised …"),
]


# Exercise 2 ---------------------------------------------------------------------------------------------


def right_loss(logits, target, smoothing):
    wanted = F.one_hot(target, logits.shape[-1]).to(logits.dtype) * (1 - smoothing) + smoothing / logits.shape[-1]
    return -(wanted * logits.log_softmax(-1)).sum(-1).mean()


def loss_to(wanted_of, log=lambda logits: logits.log_softmax(-1), end=lambda x: -x.mean()):
    def answer(logits, target, smoothing):
        wanted = wanted_of(F.one_hot(target, logits.shape[-1]).to(logits.dtype), smoothing, logits.shape[-1])
        return end((wanted * log(logits)).sum(-1))

    return answer


def spread(hot, smoothing, count):
    return (1 - smoothing) * hot + smoothing / count


SMOOTHED = [
    (
        loss_to(spread, lambda logits: logits.softmax(-1).log()),
        "✗ the logarithm of a softmax: infinite where a probability is zero",
    ),
    (loss_to(spread, lambda x: torch.log(x.softmax(-1) + 1e-9)), "✗ a small constant inside the logarithm"),
    (loss_to(spread, lambda x: x.softmax(-1).clamp(min=1e-20).log()), "✗ loss: wrong where probabilities are …"),
    (loss_to(spread, lambda x: x.log_softmax(0)), "✗ softmax over the tokens, not over the vocabulary"),
    (loss_to(spread, lambda x: x), "✗ no softmax"),
    (loss_to(lambda hot, e, n: hot + e / n), "✗ the right token keeps all of its probability"),
    (loss_to(lambda hot, e, n: e * hot + e / n), "✗ the right token gets ε, not 1 − ε"),
    (loss_to(lambda hot, e, n: (1 - e) * hot + e), "✗ each token gets ε, not ε / V"),
    (
        loss_to(lambda hot, e, n: (1 - e) * hot + e * (1 - hot) / (n - 1)),
        "✗ spread over the other tokens only",
    ),
    (loss_to(lambda hot, e, n: (1 - e) * hot + (1 - e) / n), "✗ 1 − ε is spread, not ε"),
    (loss_to(lambda hot, e, n: (1 - e) * hot), "✗ nothing is spread"),
    (loss_to(spread, end=lambda x: x.mean()), "✗ the sign is missing"),
    (loss_to(spread, end=lambda x: -x.sum()), "✗ summed over the tokens, not averaged"),
    (loss_to(spread, end=lambda x: -x), "✗ not averaged over the tokens"),
    (
        loss_to(lambda hot, e, n: e * hot + (1 - e) / n),
        "✗ the right token gets ε, not 1 − ε; and 1 − ε is spread, not ε",
    ),
    (lambda x, t, e: right_loss(x.detach(), t, e), "✗ right values, but no gradient reaches logits"),
    (lambda x, t, e: right_loss(x, t, e).item(), "✗ expected a tensor, got float"),
]


# Exercise 3 ---------------------------------------------------------------------------------------------


def right_average(average, weights, count):
    return (count * average + weights) / (count + 1)


AVERAGE = [
    (lambda a, w, n: 0.5 * a + 0.5 * w, "✗ half of the old, half of the new"),
    (lambda a, w, n: a + (w - a) / n, "✗ divided by count: with the new one there are count + 1"),
    (lambda a, w, n: w + a, "✗ added, not averaged"),
    (lambda a, w, n: a / (n + 1) + w / (n + 1), "✗ the old mean counts as one, not as count"),
    (lambda a, w, n: n * a + w, "✗ a sum: not divided by count + 1"),
    (lambda a, w, n: (a + n * w) / (n + 1), "✗ old and new exchanged"),
    (lambda a, w, n: w.clone(), "✗ the newest weights alone"),
    (lambda a, w, n: a.mul_(n).add_(w).div_(n + 1), "✗ your function changes its input average in place"),
    (lambda a, w, n: right_average(a, w, n).float(), "✗ average: expected torch.float64, got torch.float32"),
    (lambda a, w, n: right_average(a, w, n) + 1, "✗ average: wrong for the fourth weights"),
]


# Exercise 4 ---------------------------------------------------------------------------------------------


def right_beam(totals, steps, size):
    found = sorted(
        ((totals[w] + steps[w, v]).item(), w, v) for w in range(len(totals)) for v in range(steps.shape[1])
    )
    best = found[::-1][:size]
    return (
        torch.tensor([total for total, _, _ in best], dtype=totals.dtype),
        torch.tensor([w for _, w, _ in best]),
        torch.tensor([v for _, _, v in best]),
    )


def by_sums(combine, largest=True):
    def answer(totals, steps, size):
        sums = combine(totals.unsqueeze(1), steps)
        best, index = torch.topk(sums.reshape(-1), size, largest=largest)
        return best, index.div(sums.shape[1], rounding_mode="floor"), index.remainder(sums.shape[1])

    return answer


def each_best(totals, steps, size):
    best, tokens = (totals[:, None] + steps).max(dim=1)
    order = best.argsort(descending=True)[:size]
    return best[order], order, tokens[order]


def exchanged(totals, steps, size):
    best, parents, tokens = right_beam(totals, steps, size)
    return best, tokens, parents


def by_width(totals, steps, size):
    best, index = (totals[:, None] + steps).flatten().topk(size)
    return best, index // len(totals), index % len(totals)


def divided(totals, steps, size):
    best, index = (totals[:, None] + steps).flatten().topk(size)
    return best, (index / steps.shape[1]).floor(), index % steps.shape[1]


BEAM = [
    (by_sums(lambda t, s: t * s), "✗ logarithms multiplied: they are added"),
    (by_sums(lambda t, s: s), "✗ the past forgotten: only the last step is compared"),
    (by_sums(lambda t, s: t.exp() + s.exp()), "✗ probabilities added"),
    (by_sums(lambda t, s: (t + s).exp()), "✗ totals returned as probabilities"),
    (by_sums(lambda t, s: t + s, largest=False), "✗ the worst kept, not the best"),
    (each_best, "✗ the best of each beginning, not the best of all"),
    (exchanged, "✗ parents and tokens exchanged"),
    (by_width, "✗ divided by W, not by V"),
    (divided, "✗ parents: expected torch.int64, got torch.float32"),
    (lambda t, s, n: right_beam(t, s, n)[0], "✗ expected a tuple of 3 tensors, got Tensor"),
    (lambda t, s, n: right_beam(t, s, n + 1), "✗ totals: expected shape (5,), got (6,)"),
]


# Exercise 5 ---------------------------------------------------------------------------------------------


def right_top_p(probabilities, p):
    ordered, order = probabilities.sort(dim=-1, descending=True)
    kept = torch.where(ordered.cumsum(-1) - ordered < p, ordered, 0)
    return (kept / kept.sum(-1, keepdim=True)).gather(-1, order.argsort(-1))


def nucleus(keep, descending=True, back=None, end=lambda kept: kept / kept.sum(-1, keepdim=True)):
    def answer(probabilities, p):
        ordered, order = probabilities.sort(dim=-1, descending=descending)
        kept = ordered.masked_fill(~keep(ordered, p), 0)
        return end(kept.gather(-1, order.argsort(-1)) if back is None else back(kept, order))

    return answer


def below(ordered, p):
    return ordered.cumsum(-1) - ordered < p


def one_more(ordered, p):
    before = below(ordered, p)
    return before | F.pad(before[..., :-1], (1, 0), value=True)


TOP_P = [
    (nucleus(below, descending=False), "✗ the least probable first"),
    (nucleus(lambda o, p: o.cumsum(-1) <= p), "✗ the token that crosses p is dropped"),
    (nucleus(lambda o, p: o >= p), "✗ each probability compared with p, not their sum"),
    (nucleus(one_more), "✗ one token too many"),
    (lambda probs, p: probs / probs.sum(-1, keepdim=True), "✗ all kept"),
    (
        nucleus(below, back=lambda kept, order: kept),
        "✗ left in sorted order: the probabilities belong to other tokens now",
    ),
    (nucleus(below, back=lambda kept, order: kept.gather(-1, order)), "✗ gather, where scatter undoes a sort"),
    (nucleus(below, end=lambda kept: kept), "✗ not renormalised"),
    (nucleus(below, end=lambda kept: kept.softmax(-1)), "✗ a softmax over probabilities"),
    (
        nucleus(lambda o, p: o.cumsum(-1) <= p, end=lambda kept: kept),
        "✗ the token that crosses p is dropped; and not renormalised",
    ),
    (lambda probs, p: right_top_p(probs, p).float(), "✗ kept: expected torch.float64, got torch.float32"),
]


# Exercise 6 ---------------------------------------------------------------------------------------------


def right_bytes(length, source_length, d_model, num_layers, batch_size):
    return sum((length + source_length) * d_model * 4 * batch_size for _ in range(2 * num_layers))


CACHE = [
    (lambda t, s, d, n, b: right_bytes(t, s, d, n, b) // 2, "✗ half of it"),
    (lambda t, s, d, n, b: right_bytes(t, s, d, n, b) // 4, "✗ numbers, not bytes"),
    (lambda t, s, d, n, b: right_bytes(t, s, d, 2 * n, b), "✗ twice as much: are the encoder's layers in it?"),
    (lambda t, s, d, n, b: right_bytes(t, 0, d, n, b), "✗ the source is left out"),
    (
        lambda t, s, d, n, b: right_bytes(t * s, 0, d, n, b),
        "✗ T · S: that is the table of weights, which nobody keeps",
    ),
    (lambda t, s, d, n, b: right_bytes(t * t, s, d, n, b), "✗ T²: each token adds its own key and value only"),
    (lambda t, s, d, n, b: right_bytes(t, s, d, 1, b), "✗ one layer only"),
    (lambda t, s, d, n, b: right_bytes(t, s, d, n, 1), "✗ one sequence only"),
    (lambda t, s, d, n, b: right_bytes(t, s, d, n, b) * 1.0, "✗ bytes: expected torch.int64, got torch.float32"),
    (lambda t, s, d, n, b: 8, "✗ expected a tensor, got int"),
]


# Right answers ------------------------------------------------------------------------------------------


def kept_by_loop(probabilities, p):
    rows = []
    for row in probabilities.reshape(-1, probabilities.shape[-1]):
        kept, total = torch.zeros_like(row), 0.0
        for index in row.argsort(descending=True).tolist():
            if total >= p:
                break
            kept[index], total = row[index], total + row[index].item()
        rows.append(kept / kept.sum())
    return torch.stack(rows).view_as(probabilities)


class TestChecks(ExerciseChecks):
    SAME_INPUTS = {checks.check_schedule, checks.check_top_p}
    TABLES = {
        checks.check_schedule: (SCHEDULE, checks._SCHEDULE),
        checks.check_smoothed_loss: (SMOOTHED, checks._SMOOTHING),
        checks.check_running_average: (AVERAGE, checks._AVERAGE),
        checks.check_beam_step: (BEAM, checks._BEAM),
        checks.check_top_p: (TOP_P, checks._TOP_P),
        checks.check_cache_bytes: (CACHE, checks._CACHE),
    }
    RIGHT = {
        checks.check_schedule: [
            right_schedule,
            schedule,
            lambda s, d, w: d**-0.5 * torch.where(s <= w, s * w**-1.5, s**-0.5),
        ],
        checks.check_smoothed_loss: [
            right_loss,
            lambda x, t, e: F.cross_entropy(x, t, label_smoothing=e),
            lambda x, t, e: (1 - e) * F.cross_entropy(x, t) - e * x.log_softmax(-1).mean(),
        ],
        checks.check_running_average: [
            right_average,
            lambda a, w, n: torch.lerp(a, w, 1 / (n + 1)),
        ],
        checks.check_beam_step: [
            right_beam,
            by_sums(lambda t, s: t + s),
            lambda t, s, n: list(right_beam(t, s, n)),
        ],
        checks.check_top_p: [right_top_p, nucleus(below), kept_by_loop],
        checks.check_cache_bytes: [right_bytes, lambda t, s, d, n, b: 8 * n * b * d * (s + t)],
    }


def test_a_named_mistake_says_why(capsys) -> None:
    text = feedback(capsys, checks.check_beam_step, exchanged)
    assert text == (
        "✗ parents and tokens exchanged\n"
        "  In the flattened (W, V) a row is V long: index // V is the row, index % V the token."
    )
