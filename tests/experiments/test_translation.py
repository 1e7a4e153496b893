"""Translation: the nearest sentence by brute force, models of one size, what is measured, on a file of pairs."""

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer_book.experiments import Result, nearest_sentence, translation
from transformer_book.experiments.nearest_sentence import SentenceIndex, words
from transformer_book.experiments.translation import (
    LENGTHS,
    SYSTEMS,
    TRAINED,
    Curve,
    compare,
    failures,
    measure,
    nearest_translations,
)
from transformer_book.experiments.translation_models import (
    BEAM,
    SIZES,
    Size,
    count_weights,
    new_recurrent_translator,
    new_translator,
    training_config,
    translate,
)
from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.bleu import bleu, chrf
from transformer_book.tasks.metrics import edit_distance
from transformer_book.tasks.task import SPLITS, Example
from transformer_book.tasks.translation import Translation
from transformer_book.training import predict, train

WORDS = {
    "the": "le",
    "cat": "chat",
    "dog": "chien",
    "sees": "voit",
    "big": "gros",
    "fish": "poisson",
    "Tom": "Tom",
}
TINY = Size(
    vocabulary_size=300,
    transformer={"d_model": 32, "num_heads": 4, "d_ff": 64, "num_encoder_layers": 1, "num_decoder_layers": 1},
    d_embed=32,
    training={"steps": 40, "batch_size": 16, "learning_rate": 5e-3, "warmup": 0.1, "average_every": 3},
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a file of pairs made of few words, word by word."""
    generator, lines = random.Random(0), set()
    for _ in range(400):
        english = generator.choices([*WORDS], k=generator.randint(2, 7))
        lines.add(f"{' '.join(english)}.\t{' '.join(map(WORDS.__getitem__, english))}.")
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("\n".join(sorted(lines)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def task(pairs: Path) -> Translation:
    return Translation(pairs=str(pairs), vocabulary_size=300)


@pytest.fixture(scope="module")
def result(pairs: Path) -> Result:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(translation.SIZES, "tiny", TINY)
        return measure([3, 5], size="tiny", pairs=str(pairs), count=7, samples=20)


# --- the nearest sentence --------------------------------------------------------------------------------------


def test_words() -> None:
    assert words("I don't see it -- the 2nd time, 10:30?") == (
        "i",
        "don't",
        "see",
        "it",
        "the",
        "2nd",
        "time",
        "10",
        "30",
    )
    assert words("« L'été »") == ("l'été",)
    assert words("?!") == ()


sentences = st.lists(st.sampled_from("abcd"), max_size=7).map(" ".join)


@given(st.lists(sentences, min_size=1, max_size=12), sentences)
def test_the_nearest_is_as_near_as_brute_force_finds(known: list[str], asked: str) -> None:
    found = SentenceIndex(known).nearest(asked)
    distances = [edit_distance(words(asked), words(sentence)) for sentence in known]
    assert found.distance == min(distances) == distances[found.number]


def test_the_nearest_by_hand() -> None:
    index = SentenceIndex(["He sees a cat.", "the the the", "A dog, he sees?", "Fish"])
    assert index.nearest("HE SEES A DOG") == (0, 1)
    assert index.nearest("a dog he sees") == (2, 0)
    assert index.nearest("the the") == (1, 1)
    assert index.nearest("nothing here") == (3, 2)
    assert SentenceIndex(["fish"]).nearest("nothing here") == (0, 2)
    assert SentenceIndex(["b a c", "c b a"]).nearest("a b c") == (0, 2)  # as near: the first
    with pytest.raises(ValueError, match=r"^sentences: expected at least one, got none$"):
        SentenceIndex([])


def test_most_sentences_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counted(first: Sequence[str], second: Sequence[str]) -> int:
        compared.append(second)
        return edit_distance(first, second)

    monkeypatch.setattr(nearest_sentence, "edit_distance", counted)
    index = SentenceIndex([*(f"{a} sees {b}" for a in "abcdefgh" for b in "ijklmnop"), "a b c d e f"])
    assert index.nearest("b sees i") == (8, 0)
    assert compared == [("b", "sees", "i")]
    compared.clear()
    assert index.nearest("q sees q").distance == 2
    assert len(compared) == 1  # two edits are the least for all of them
    compared.clear()
    assert SentenceIndex(["a b c", "a a d"]).nearest("a a a") == (1, 1)
    assert len(compared) == 1  # of three, "a b c" shares one


def test_nearest_translations_are_of_training_sentences(task: Translation) -> None:
    distances, texts = nearest_translations(task, "test")
    known = task.pairs("train")
    for pair, distance, text in zip(task.pairs("test"), distances, texts, strict=True):
        nearest = min(edit_distance(words(pair.source), words(other.source)) for other in known)
        assert distance == nearest
        assert any(
            other.target == text and edit_distance(words(pair.source), words(other.source)) == distance
            for other in known
        )


# --- models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("vocabulary", [500, 4003])
def test_both_models_are_of_one_size(
    task: Translation, monkeypatch: pytest.MonkeyPatch, name: str, vocabulary: int
) -> None:
    class Words:
        def __len__(self) -> int:
            return vocabulary

    monkeypatch.setattr(task, "source_vocabulary", Words())
    with torch.device("meta"):
        weights = count_weights(new_translator(task, 0, SIZES[name]))
    model = new_recurrent_translator(task, 0, SIZES[name], weights)
    recurrent = count_weights(model)
    assert recurrent == pytest.approx(weights, rel=0.1)
    width = model.config.d_hidden
    assert width % 8 == 0
    for other in (width - 8, width + 8):  # no multiple of 8 comes nearer
        with torch.device("meta"):
            neighbour = Seq2Seq(replace(model.config, d_hidden=other))
        shared = count_weights(neighbour) - neighbour.decoder.embedding.weight.numel()
        assert abs(recurrent - weights) <= abs(shared - weights)


def test_the_recurrent_model_is_chapter_3_s_with_dropout(task: Translation) -> None:
    model = new_recurrent_translator(task, 0, TINY, 30_000, dropout=0.5)
    assert model.encoder.embedding is model.decoder.embedding
    batch = torch.tensor([[5, 7, 11], [13, 17, 0]]), torch.tensor([[1, 5], [1, 7]])
    model.train()
    for place in (model.encoder.embedding, model.decoder.readout):  # each of the two drops by itself
        place.dropout = 0.0
        assert not torch.equal(model(*batch), model(*batch))
        place.dropout = 0.5
    model.eval()
    plain = type(model)(model.config)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(*batch), plain.eval()(*batch))
    assert torch.equal(new_recurrent_translator(task, 0, TINY, 30_000).eval()(*batch), model(*batch))


def test_a_shorter_training_keeps_its_averaged_share() -> None:
    whole = training_config(TINY, 7)
    assert (whole.steps, whole.average_last, whole.average_every, whole.seed) == (40, 10, 3, 7)
    assert whole.label_smoothing == 0.1
    longer = training_config(TINY, 7, steps=400)
    assert (longer.average_last, longer.average_every) == (10, 30)
    shorter = training_config(TINY, 7, steps=5)
    assert (shorter.average_last, shorter.average_every) == (5, 1)
    assert training_config(TINY, 7, label_smoothing=0.0, average_last=1).average_last == 1


def test_the_translator_fits_into_ten_megabytes(task: Translation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "source_vocabulary", range(4003))
    with torch.device("meta"):
        assert 2 * count_weights(new_translator(task, 0, SIZES["shipped"])) < 10_000_000 - 500_000


def test_translations_are_texts_of_predictions(task: Translation) -> None:
    model = new_translator(task, 0, TINY)
    examples = task.examples("validation")[:5]
    for beam in (1, BEAM):
        found = translate(model, task, examples, beam)
        assert found == [
            task.text(ids) for ids in predict(model, task, [e.source for e in examples], beam_size=beam)
        ]


# --- what is measured --------------------------------------------------------------------------------------------


def test_what_is_measured(result: Result, task: Translation) -> None:
    points, classes = len(result.settings["points"]), len(LENGTHS) + 1
    shapes = {"near_share": (), "over_recurrent": (4,), "over_nearest": (4,)}
    for system in SYSTEMS:
        shapes |= {f"{name}_{system}": () for name in ("bleu", "chrf", "near", "far")} | {
            f"by_length_{system}": (classes,)
        }
    for system in TRAINED:
        shapes |= {f"{name}_{system}": () for name in ("greedy", "seconds", "parameters")} | {
            f"curve_{system}": (points,)
        }
    assert {name: result.array(name).shape for name in result.values} == {
        name: (2, *shape) for name, shape in shapes.items()
    }
    assert result.settings["pairs"] == {part: len(task.pairs(part)) for part in SPLITS}
    assert result.settings["training"] == asdict(training_config(TINY, 0))
    assert result.settings["points"][-1] == 40


def test_curves_take_no_time_of_the_training(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def translated(model: object, task: object, examples: Sequence[Example], beam_size: int = 1) -> list[str]:
        now[0] += 100
        return ["le chat voit"] * len(examples)

    def trained(model, task, config, device, after_step) -> None:
        for done in range(1, config.steps + 1):
            now[0] += 1
            after_step(done)

    monkeypatch.setitem(translation.SIZES, "tiny", TINY)
    monkeypatch.setattr(translation, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(translation, "translate", translated)
    monkeypatch.setattr(translation, "train", trained)
    live = measure([0], size="tiny", pairs=str(pairs), count=3, samples=2)
    for system in TRAINED:
        assert live.array(f"seconds_{system}").tolist() == [40]


def test_the_nearest_sentence_depends_on_no_seed(result: Result, task: Translation) -> None:
    distances, texts = nearest_translations(task, "test")
    references = [pair.target for pair in task.pairs("test")]
    for values, expected in (
        (result.array("bleu_nearest"), bleu(texts, references).value),
        (result.array("chrf_nearest"), chrf(texts, references).value),
        (result.array("near_share"), np.mean(np.array(distances) <= 1)),
    ):
        np.testing.assert_allclose(values, expected)


def test_differences_are_those_of_the_scores(result: Result) -> None:
    for other in ("recurrent", "nearest"):
        difference = result.array("bleu_transformer") - result.array(f"bleu_{other}")
        np.testing.assert_allclose(result.array(f"over_{other}")[:, 0], difference, atol=1e-9)


def test_one_seed_is_what_the_package_trains_and_translates(result: Result, task: Translation) -> None:
    model = new_translator(task, 5, TINY)
    train(model, task, training_config(TINY, 5))
    references = [pair.target for pair in task.pairs("test")]
    found = bleu(translate(model, task, task.examples("test"), BEAM), references).value
    assert result.array("bleu_transformer")[1] == pytest.approx(found)
    assert result.array("bleu_transformer")[0] != pytest.approx(found)
    assert result.array("parameters_transformer")[1] == count_weights(model)


def test_a_curve_looks_at_its_points_only(task: Translation) -> None:
    model = new_translator(task, 0, TINY)
    curve = Curve(model, task, [2, 5], 3)
    for done in range(1, 8):
        curve(done)
    assert len(curve.values) == 2
    assert len(curve.references) == 3
    assert curve.references == [pair.target for pair in task.pairs("validation")[:3]]
    assert curve.seconds > 0


def test_scores_of_parts(task: Translation) -> None:
    examples = task.examples("test")
    references = [task.text(example.target) for example in examples]
    lengths = [len(words(task.text(example.source))) for example in examples]
    right = {"transformer": references, "recurrent": ["non"] * len(examples), "nearest": references}
    mixed = [text if length <= 5 else "non" for text, length in zip(references, lengths, strict=True)]
    distances = [0 if length <= 5 else 2 for length in lengths]
    row = compare(task, examples, references, right | {"nearest": mixed}, distances, samples=9)
    assert row["near_share"] == np.mean(np.array(lengths) <= 5)
    assert (row["near_nearest"], row["far_nearest"]) == (pytest.approx(100), pytest.approx(0, abs=1))
    assert row["by_length_nearest"] == [pytest.approx(100), pytest.approx(0, abs=1), 0.0, 0.0]
    assert row["by_length_transformer"] == [pytest.approx(100), pytest.approx(100), 0.0, 0.0]
    assert row["bleu_recurrent"] < 1 < 99 < row["bleu_transformer"]
    assert row["over_recurrent"][3] == 0.0


def test_failures_are_the_worst_of_each_length(task: Translation) -> None:
    lengths = (3, 3, 3, 3, 6, 6, 20)
    examples = [
        Example(task.encode(" ".join(["the"] * n)), task.encode(f"{k} le chat")) for k, n in enumerate(lengths)
    ]
    texts = ["0 le chat", "1 le", "non", "3 le cha", "4 le chat", "5", "6 le chat"]
    found = failures(task, examples, texts, each=2)
    assert [row["translation"] for row in found] == ["non", "1 le", "5", "4 le chat", "6 le chat"]
    assert found[0] == {"source": "the the the", "reference": "2 le chat", "translation": "non", "chrf": 0.0}
    assert found[-1]["chrf"] == 100.0


def test_figures_and_tables(result: Result, close_figures: None) -> None:
    figure = translation.plot(result)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["Learning", "Near and far", "Length"]
    lines = translation.table(result).splitlines()
    assert len(lines) == 1 + len(SYSTEMS)
    assert f"{result.mean('bleu_nearest'):.1f} ± 0.0" in lines[3]
