"""C10.2's instrument on texts made up here: who is trained on what, scored where, and by what count."""

import math

import pytest
import torch

from transformer_book.experiments import language_models
from transformer_book.experiments.language_models import hidden_nats, next_nats, text_of
from transformer_book.tasks import text
from transformer_book.tasks.sources import SourceError
from transformer_book.tasks.vocabulary import END

WORKS = tuple(
    f"KING.\nthe {word} and the {word} again, number {n}.\n" * 40 for n, word in enumerate("abcdefghijklmno")
)
SENTENCES = tuple(
    f"{who} saw the {what} on {day} ." for who in "iyw" for what in "abcdefg" for day in ("monday", "friday")
)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "shakespeare_works", lambda: WORKS)
    monkeypatch.setattr(text, "tatoeba_sentences", lambda: SENTENCES)
    monkeypatch.setattr(language_models, "GAPS", ("i saw the <mask> on monday .", "i saw the a on <mask> ."))


def test_every_quantity_is_measured_and_repeats(made_up: None) -> None:
    settings = {"gpt_steps": 4, "bert_steps": 4, "looks": 2, "gpt_width": 8, "bert_width": 8, "count": 3}
    settings |= {"length": 20, "vocabulary_size": 20}
    result, again = (language_models.measure([1], **settings) for _ in range(2))  # type: ignore[arg-type]
    assert result.values == again.values
    assert result.array("trigram")[0] < result.array("bigram")[0] < math.log(40)
    assert result.array("bert_neighbours")[0] > 0
    for name in ("curve_gpt", "curve_bert"):
        assert result.array(name).shape == (1, 2)
    assert 1 <= len(text_of(result.values["sample"][0])) <= 200
    assert text_of(result.values["guesses"][0][0]).count(", ") == 2
    assert len(language_models.table(result).splitlines()) == 10
    language_models.plot(result)


def test_one_model_alone_reads_one_text(made_up: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise SourceError("tatoeba: no network")

    monkeypatch.setattr(text, "tatoeba_sentences", missing)
    settings = {"gpt_steps": 2, "looks": 1, "gpt_width": 8, "count": 2, "length": 20}
    result = language_models.measure([0], models=("gpt",), **settings)  # type: ignore[arg-type]
    assert "bert" not in result.values
    with pytest.raises(SourceError, match="tatoeba: no network"):
        language_models.measure([0], models=("bert",), **settings)  # type: ignore[arg-type]


class Even(torch.nn.Module):
    """Says of every token but one that it is even; of id 5 that it is twice as probable."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*ids.shape, 7)
        logits[..., 5] = math.log(2)
        return logits


def test_only_the_second_half_of_a_window_is_scored() -> None:
    ids = torch.tensor([[5, 5, 5, 5, 1, 1, 1, 5]])
    assert next_nats(Even(), ids) == pytest.approx((3 * math.log(8) + math.log(4)) / 4)  # type: ignore[arg-type]


def test_every_word_is_hidden_once_and_by_itself() -> None:
    seen = []

    class Spy(Even):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            seen.append(ids)
            return super().forward(ids)

    nats = hidden_nats(Spy(), [torch.tensor([5, 6, 5, END])], 4, torch.device("cpu"))  # type: ignore[arg-type]
    assert nats == pytest.approx((2 * math.log(4) + math.log(8)) / 3)
    assert seen[0].tolist() == [[1, 4, 6, 5, END], [1, 5, 4, 5, END], [1, 5, 6, 4, END]]
