import math
from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_book.decoding import (
    Beams,
    EncoderDecoder,
    beam_search,
    beam_step,
    draw,
    first_beams,
    greedy_decode,
    most_probable,
    penalised_length,
    sample_decode,
    token_probabilities,
    write_on,
)
from transformer_book.gpt import GPT, GPTConfig
from transformer_book.seq2seq import CELLS, Seq2Seq, Seq2SeqConfig
from transformer_book.transformer import Transformer, TransformerConfig

PAD, START, END = 0, 1, 2


class Script:
    """A model that writes what it is told: for each row of the batch, the tokens in order."""

    pad_id, start_id, end_id = PAD, START, END

    def __init__(self, rows: list[list[int]], vocabulary: int = 11) -> None:
        self.rows, self.vocabulary, self.read = rows, vocabulary, []

    def encode(self, source: Tensor) -> SimpleNamespace:
        return SimpleNamespace(source=source)

    def decode(
        self, target: Tensor, memory: SimpleNamespace, state: int | None = None
    ) -> tuple[Tensor, int, None]:
        self.read.append(target[:, 0].tolist())
        step = 0 if state is None else state
        tokens = torch.tensor([row[step] for row in self.rows])
        return F.one_hot(tokens, self.vocabulary).float()[:, None], step + 1, None


def test_it_writes_until_every_sequence_has_ended() -> None:
    model = Script([[5, 6, END, 9, 9], [7, END, 8, 8, 8], [3, 4, 5, END, 9]])
    ids = greedy_decode(model, torch.full((3, 2), 4), max_length=5)
    assert ids.tolist() == [[5, 6, END, PAD], [7, END, PAD, PAD], [3, 4, 5, END]]
    # START first, then what was written; padding once a sequence has ended
    assert model.read == [[START] * 3, [5, 7, 3], [6, END, 4], [END, PAD, 5]]


def test_it_stops_at_the_longest_length() -> None:
    model = Script([[5, 6, 7, END], [4, END, 3, 3]])
    assert greedy_decode(model, torch.full((2, 2), 4), max_length=2).tolist() == [[5, 6], [4, END]]


@pytest.mark.parametrize("score", ["none", "additive"])
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_the_argmax_of_the_whole_prefix_each_time(cell: str, score: str) -> None:
    torch.manual_seed(3)
    model = Seq2Seq(Seq2SeqConfig(17, 13, d_embed=11, d_hidden=19, cell=cell, score=score))
    for parameter in model.parameters():
        parameter.data *= 3  # far from ties
    source = torch.randint(3, 17, (5, 7))
    source[1, 4:] = PAD
    written = torch.full((5, 1), START)
    for _ in range(6):
        with torch.no_grad():
            token = model(source, written)[:, -1].argmax(dim=-1, keepdim=True)
        ended = (written == END).any(dim=1, keepdim=True)
        written = torch.cat([written, token.masked_fill(ended, PAD)], dim=1)
    expected = written[:, 1:]
    longest = int((expected != PAD).sum(dim=1).max())
    assert torch.equal(greedy_decode(model, source, max_length=6), expected[:, :longest])


def test_a_row_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(17, 13, d_hidden=19, score="additive"))
    source = torch.randint(3, 17, (5, 7))
    source[2, 3:] = PAD
    together = greedy_decode(model, source, max_length=8)
    alone = greedy_decode(model, source[2:3, :3], max_length=8)
    assert torch.equal(F.pad(alone, (0, together.shape[1] - alone.shape[1])), together[2:3])


def test_it_records_no_gradient() -> None:
    model = Seq2Seq(Seq2SeqConfig(17, 13, d_hidden=5))
    assert not greedy_decode(model, torch.full((1, 2), 4), max_length=3).requires_grad
    assert torch.is_grad_enabled()


def test_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^max_length: expected an integer ≥ 1, got 0$"):
        greedy_decode(Script([[END]]), torch.full((1, 2), 4), max_length=0)


small = partial(TransformerConfig, d_model=12, num_heads=3, d_ff=19)


def sharp_model(kind: str, vocabulary: int, seed: int = 0) -> Seq2Seq | Transformer:
    """Make a random model whose choices are far from ties; kind is a cell, or where a Transformer normalises."""
    torch.manual_seed(seed)
    if kind in CELLS:
        model = Seq2Seq(Seq2SeqConfig(17, vocabulary, d_embed=11, d_hidden=19, cell=kind, score="additive"))
    else:
        first = kind == "pre-norm"
        model = Transformer(small(17, vocabulary, norm_first=first)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def ragged_source() -> Tensor:
    source = torch.randint(3, 17, (5, 7), generator=torch.Generator().manual_seed(1))
    source[1, 4:] = PAD
    source[3, 2:] = PAD
    return source


def log_probability(model: EncoderDecoder, source: Tensor, tokens: list[int]) -> float:
    """Add up a sequence's log-probabilities by teacher forcing, up to and with its end."""
    with torch.no_grad():
        target = torch.tensor([[START, *tokens]])
        logits, *_ = model.decode(target[:, :-1], model.encode(source))
    steps = logits[0].log_softmax(dim=-1)
    return steps[range(len(tokens)), tokens].sum().item()


KINDS = [*CELLS, "post-norm", "pre-norm"]


@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_of_one_is_greedy(kind: str, length_penalty: float) -> None:
    model, source = sharp_model(kind, 13), ragged_source()
    ids, scores = beam_search(model, source, 1, max_length=9, length_penalty=length_penalty)
    assert torch.equal(ids, greedy_decode(model, source, max_length=9))
    assert scores.shape == (5,)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("kind", ["gru", "lstm", "post-norm", "pre-norm"])
def test_a_beam_wide_enough_finds_the_best_of_all_sequences(kind: str, length_penalty: float) -> None:
    vocabulary, longest = 5, 3
    model, source = sharp_model(kind, vocabulary, seed=4), ragged_source()[1:2]
    scores = {}
    for length in range(1, longest + 1):
        for tokens in product(range(vocabulary), repeat=length):
            ended = tokens[-1] == END
            if END in tokens[:-1] or not (ended or length == longest):
                continue
            divisor = ((5 + length) / 6) ** length_penalty
            scores[tokens] = log_probability(model, source, list(tokens)) / divisor
    best = max(scores, key=scores.__getitem__)
    ids, score = beam_search(model, source, vocabulary**longest, longest, length_penalty)
    assert tuple(ids[0].tolist()) == best
    assert score.item() == pytest.approx(scores[best], abs=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "pre-norm"])
@pytest.mark.parametrize("beam_size", [2, 3, 7])
def test_scores_are_those_of_teacher_forcing_and_no_worse_than_greedy(kind: str, beam_size: int) -> None:
    model, source = sharp_model(kind, 13, seed=2), ragged_source()
    ids, scores = beam_search(model, source, beam_size, max_length=8, length_penalty=0.0)
    for row, score, one in zip(ids.tolist(), scores.tolist(), source, strict=True):
        tokens = row[: row.index(END) + 1] if END in row else row
        assert all(token == PAD for token in row[len(tokens) :])
        assert log_probability(model, one[one != PAD][None], tokens) == pytest.approx(score, abs=1e-4)


def test_a_beam_finds_what_greedy_misses() -> None:
    # after 3, everything is unlikely; after 4, the end is certain
    table = {START: {3: 0.6, 4: 0.4}, 3: {5: 0.5, 6: 0.5}, 4: {END: 1.0}, 5: {END: 1.0}, 6: {END: 1.0}}
    model = Chain(table, vocabulary=7)
    source = torch.full((1, 1), 4)
    assert greedy_decode(model, source, 4).tolist()[0][0] == 3
    ids, scores = beam_search(model, source, 2, 4, length_penalty=0.0)
    assert ids.tolist() == [[4, END]]
    assert scores.exp().item() == pytest.approx(0.4)


def test_the_length_penalty_lets_longer_sequences_win() -> None:
    table = {START: {END: 0.5, 3: 0.5}, 3: {4: 0.9, END: 0.1}, 4: {5: 1.0}, 5: {END: 1.0}}
    model = Chain(table, vocabulary=7)
    source = torch.full((1, 1), 4)
    assert beam_search(model, source, 3, 6, length_penalty=0.0)[0].tolist() == [[END]]
    assert beam_search(model, source, 3, 6, length_penalty=1.0)[0].tolist() == [[3, 4, 5, END]]


def test_what_has_ended_stays_as_it_is() -> None:
    table = {START: {END: 0.6, 3: 0.4}, 3: {3: 0.999, END: 0.001}}
    model = Chain(table, vocabulary=5)
    ids, scores = beam_search(model, torch.full((2, 1), 4), 2, max_length=9, length_penalty=0.0)
    assert ids.tolist() == [[END], [END]]
    assert scores.exp().tolist() == pytest.approx([0.6, 0.6])


def test_what_has_ended_takes_one_place_in_the_beam() -> None:
    # the end is sure to be "followed" by 6: extended, it would crowd out the longer sequence, which is the best
    table = {START: {END: 0.5, 3: 0.45, 6: 0.05}, END: {6: 1.0}, 3: {4: 0.9, END: 0.1}, 4: {5: 1.0}, 5: {END: 1.0}}
    model = Chain(table, vocabulary=7)
    ids, scores = beam_search(model, torch.full((1, 1), 4), 2, max_length=6, length_penalty=1.0)
    assert ids.tolist() == [[3, 4, 5, END]]
    assert scores.item() == pytest.approx(math.log(0.45 * 0.9) / (9 / 6))


def test_the_first_beams_are_one_beginning() -> None:
    beams = first_beams(START, batch=2, beam_size=3)
    assert beams.ids.tolist() == [[[START]] * 3] * 2
    assert beams.totals.tolist() == [[0.0, -math.inf, -math.inf]] * 2
    assert not beams.lengths.any()
    assert not beams.ended.any()


def test_a_step_of_a_beam_by_hand() -> None:
    # two beginnings, 3 and 4; 4 has ended with END, so that only 3 goes on
    beams = Beams(
        ids=torch.tensor([[[START, 3, 3], [START, 4, END]]]),
        totals=torch.tensor([[0.5, 0.4]]).log(),
        lengths=torch.tensor([[2.0, 2.0]]),
        ended=torch.tensor([[False, True]]),
    )
    steps = torch.tensor([[[0.0, 0.0, 0.1, 0.7, 0.2], [0.2] * 5]]).log()  # (B, W, V)
    kept = steps.clone()
    after, scores, parents = beam_step(beams, steps, END, PAD, length_penalty=0.0)
    assert after.ids.tolist() == [[[START, 4, END, PAD], [START, 3, 3, 3]]]
    assert after.totals.exp().tolist()[0] == pytest.approx([0.4, 0.5 * 0.7])
    assert after.lengths.tolist() == [[2.0, 3.0]]
    assert after.ended.tolist() == [[True, False]]
    assert parents.tolist() == [[1, 0]]
    assert torch.equal(scores, after.totals)
    assert torch.equal(steps, kept)  # what is handed over is left as it is
    _, scores, parents = beam_step(beams, steps, END, PAD, length_penalty=3.0)
    assert parents.tolist() == [[0, 1]]
    expected = [math.log(0.5 * 0.7) / (8 / 6) ** 3, math.log(0.4) / (7 / 6) ** 3]
    assert scores.tolist()[0] == pytest.approx(expected)


def test_rows_of_a_beam_search_do_not_mix() -> None:
    model, source = sharp_model("pre-norm", 13, seed=3), ragged_source()
    together, scores = beam_search(model, source, 3, max_length=8)
    for index, row in enumerate(source):
        alone, score = beam_search(model, row[row != PAD][None], 3, max_length=8)
        assert torch.equal(F.pad(alone, (0, together.shape[1] - alone.shape[1])), together[index : index + 1])
        assert score.item() == pytest.approx(scores[index].item(), abs=1e-5)


class Chain:
    """A model whose next token depends on the last one alone: token → probabilities of those that may follow."""

    pad_id, start_id, end_id = PAD, START, END

    def __init__(self, table: dict[int, dict[int, float]], vocabulary: int) -> None:
        self.logits = torch.full((vocabulary, vocabulary), -math.inf)
        self.logits[:, END] = 0.0
        for token, following in table.items():
            self.logits[token] = -math.inf
            for other, probability in following.items():
                self.logits[token, other] = math.log(probability)

    def encode(self, source: Tensor) -> Tensor:
        return source

    def decode(self, target: Tensor, memory: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert len(target) == len(memory)
        return self.logits[target], target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beam_size": 0}, r"^beam_size: expected an integer ≥ 1, got 0$"),
        ({"max_length": 0}, r"^max_length: expected an integer ≥ 1, got 0$"),
        ({"length_penalty": -0.5}, r"^length_penalty: expected a number ≥ 0, got -0.5$"),
        ({"length_penalty": math.inf}, r"^length_penalty: expected a number ≥ 0, got inf$"),
    ],
)
def test_a_beam_search_out_of_range_is_refused(changes: dict[str, float], message: str) -> None:
    arguments = {"beam_size": 2, "max_length": 3, "length_penalty": 0.6, **changes}
    with pytest.raises(ValueError, match=message):
        beam_search(Chain({}, 5), torch.full((1, 2), 4), **arguments)  # pyright: ignore[reportArgumentType]


def test_an_empty_or_overlong_source_is_refused() -> None:
    model = Transformer(small(17, 13, max_length=7))
    with pytest.raises(ValueError, match="expected at least one token per row"):
        beam_search(model, torch.zeros(2, 3, dtype=torch.long), 2, 5)
    with pytest.raises(ValueError, match=r"expected positions in 0 … 6, got 0 … 7"):
        beam_search(model, torch.full((1, 8), 4), 2, 5)
    with pytest.raises(ValueError, match=r"expected positions in 0 … 6, got 7 … 7"):
        sample_decode(model, torch.full((50, 2), 4), 8, generator=torch.Generator().manual_seed(0))


def test_the_penalised_length_is_one_for_one_token() -> None:
    assert penalised_length(torch.tensor([1.0, 7.0]), 1.0).tolist() == [1.0, 2.0]
    assert penalised_length(torch.tensor([1.0, 7.0]), 0.0).tolist() == [1.0, 1.0]


LOGITS = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5, 0.25, 0.125, 0.125]),
        ({"temperature": 0.5}, [16 / 22, 4 / 22, 1 / 22, 1 / 22]),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_k": 3}, [0.5, 0.25, 0.125, 0.125]),  # a tie with the last is kept
        ({"top_k": 9}, [0.5, 0.25, 0.125, 0.125]),
        ({"top_p": 0.4}, [1, 0, 0, 0]),
        ({"top_p": 0.6}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.76}, [4 / 7, 2 / 7, 1 / 7, 0]),
        ({"top_p": 1.0}, [0.5, 0.25, 0.125, 0.125]),
        ({"top_k": 2, "top_p": 0.6}, [1, 0, 0, 0]),  # of what top_k leaves, the first has 2/3
        ({"temperature": 0.5, "top_p": 0.7}, [1, 0, 0, 0]),  # the temperature comes before
        ({"temperature": 1e-6}, [1, 0, 0, 0]),
    ],
)
def test_token_probabilities(options: dict[str, float], expected: list[float]) -> None:
    shuffled = torch.tensor([2, 0, 3, 1])
    found = token_probabilities(LOGITS[shuffled], **options)  # pyright: ignore[reportArgumentType]
    back = found[shuffled.argsort()]
    assert back.sort(descending=True).values.tolist() == pytest.approx(expected, abs=1e-6)
    assert back[:2].tolist() == pytest.approx(expected[:2], abs=1e-6)


def test_token_probabilities_hold_for_every_row_and_for_huge_logits() -> None:
    logits = torch.randn(3, 5, 7) * 1e4
    found = token_probabilities(logits, temperature=1e-3, top_k=3, top_p=0.9)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(3, 5))
    assert torch.equal(found.argmax(dim=-1), logits.argmax(dim=-1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, r"temperature: expected a number > 0 \(greedy_decode is its limit at 0\), got 0.0"),
        ({"temperature": math.nan}, "temperature: expected a number > 0"),
        ({"top_k": 0}, "top_k: expected an integer ≥ 1 or None, got 0"),
        ({"top_p": 0.0}, "top_p: expected a probability above 0, at most 1, or None, got 0.0"),
        ({"top_p": 1.5}, "top_p: expected a probability above 0, at most 1, or None, got 1.5"),
    ],
)
def test_sampling_out_of_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        token_probabilities(LOGITS, **options)  # pyright: ignore[reportArgumentType]


def test_samples_come_as_often_as_their_probability_says() -> None:
    table = {START: {3: 0.7, 4: 0.3}, 3: {END: 0.5, 4: 0.5}, 4: {END: 1.0}}
    count = 4000
    generator = torch.Generator().manual_seed(0)
    ids = sample_decode(Chain(table, 5), torch.full((count, 1), 4), 5, generator=generator).tolist()
    expected = {(3, END, PAD): 0.35, (3, 4, END): 0.35, (4, END, PAD): 0.3}
    for tokens, probability in expected.items():
        share = sum(tuple(row) == tokens for row in ids) / count
        assert abs(share - probability) < 4 * math.sqrt(probability * (1 - probability) / count)
    assert {tuple(row) for row in ids} == set(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cold_sample_is_greedy_and_a_seed_repeats_it(kind: str) -> None:
    model, source = sharp_model(kind, 13), ragged_source()
    assert torch.equal(sample_decode(model, source, 9, top_k=1), greedy_decode(model, source, 9))
    one, two = (sample_decode(model, source, 9, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)


def test_sampling_refuses_no_length() -> None:
    with pytest.raises(ValueError, match=r"^max_length: expected an integer ≥ 1, got 0$"):
        sample_decode(Chain({}, 5), torch.full((1, 2), 4), 0)


# --- writing on after a prompt -------------------------------------------------------------------------------


def small_gpt() -> GPT:
    torch.manual_seed(3)
    model = GPT(GPTConfig(23, d_model=12, num_heads=3, d_ff=17, max_length=29)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_what_is_written_is_what_the_whole_text_says_without_a_cache() -> None:
    model, prompt = small_gpt(), torch.randint(0, 23, (5, 7), generator=torch.Generator().manual_seed(0))
    ids = prompt
    for _ in range(11):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(dim=-1)], dim=1)
    assert torch.equal(write_on(model.decode, prompt, 11), ids[:, 7:])
    end = int(ids[0, 9])  # the third token that the first sequence writes
    written = write_on(model.decode, prompt, 11, end)
    for row, free in zip(written.tolist(), ids[:, 7:].tolist(), strict=True):
        stop = free.index(end) + 1 if end in free else len(free)
        assert row == (free[:stop] + [end] * 11)[: len(row)]


def test_writing_ends_when_all_have_ended() -> None:
    def step(ids: Tensor, state: Any = None) -> tuple[Tensor, int]:
        count = 0 if state is None else state
        return F.one_hot(ids * 0 + min(count, 3), 5).float(), count + 1

    assert write_on(step, torch.zeros(2, 3, dtype=torch.long), 9, end_id=3).tolist() == [[0, 1, 2, 3]] * 2
    assert write_on(step, torch.zeros(2, 3, dtype=torch.long), 2, end_id=3).tolist() == [[0, 1]] * 2
    assert write_on(step, torch.zeros(1, 3, dtype=torch.long), 6).tolist() == [[0, 1, 2, 3, 3, 3]]


def test_what_stands_after_the_end_is_the_end() -> None:
    script = torch.tensor([[1, 3, 4, 2, 2], [2, 1, 4, 3, 2]])

    def step(ids: Tensor, state: Any = None) -> tuple[Tensor, int]:
        count = 0 if state is None else state
        return F.one_hot(script[:, count : count + 1].expand(-1, ids.shape[1]), 5).float(), count + 1

    written = write_on(step, torch.zeros(2, 3, dtype=torch.long), 5, end_id=3)
    assert written.tolist() == [[1, 3, 3, 3], [2, 1, 4, 3]]


def test_a_drawn_token_comes_as_often_as_its_probability_says() -> None:
    logits = torch.tensor([0.7, 0.2, 0.1]).log().repeat(4000, 1)
    drawn = draw(logits, generator=torch.Generator().manual_seed(0))
    assert torch.bincount(drawn, minlength=3) / 4000 == pytest.approx([0.7, 0.2, 0.1], abs=0.03)
    assert torch.equal(draw(logits, top_k=1), most_probable(logits))
    cold = write_on(small_gpt().decode, torch.zeros(2, 3, dtype=torch.long), 5, choose=partial(draw, top_k=1))
    assert torch.equal(cold, write_on(small_gpt().decode, torch.zeros(2, 3, dtype=torch.long), 5))


def test_writing_on_refuses_no_length() -> None:
    with pytest.raises(ValueError, match=r"^max_length: expected an integer ≥ 1, got 0$"):
        write_on(small_gpt().decode, torch.zeros(1, 3, dtype=torch.long), 0)
