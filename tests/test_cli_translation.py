"""The command with translations: a file of pairs from training to prediction, the recipe, no network."""

import random
from pathlib import Path

import pytest
import torch

from transformer_book import cli
from transformer_book.cli import main
from transformer_book.experiments import shipped
from transformer_book.experiments.shipped import SHIPPED, Recipe
from transformer_book.experiments.translation_models import COMMON, SIZES, count_weights, training_config
from transformer_book.tasks import make_task, translation
from transformer_book.tasks.bleu import bleu, chrf, signatures
from transformer_book.tasks.sources import Source, SourceError
from transformer_book.tasks.translation import Translation, read_pairs, tatoeba_pairs
from transformer_book.training import TrainingConfig, evaluate, load_model, predict
from transformer_book.transformer import Transformer, TransformerConfig

WORDS = {
    "the": "le",
    "cat": "chat",
    "dog": "chien",
    "sees": "voit",
    "big": "gros",
    "fish": "poisson",
    "Tom": "Tom",
}
#: A model that is trained in a second.
SMALL = ["--width", "16", "--heads", "2", "--feed-forward", "16", "--layers", "1", "--batch", "8", "--steps", "3"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a file of pairs made of few words, word by word."""
    generator, lines = random.Random(0), set()
    for _ in range(300):
        english = generator.choices([*WORDS], k=generator.randint(2, 5))
        lines.add(f"{' '.join(english)}.\t{' '.join(map(WORDS.__getitem__, english))}.")
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("\n".join(sorted(lines)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model_file(pairs: Path) -> Path:
    """Train on the file of pairs, by the command."""
    path = pairs.with_name("model.safetensors")
    words = ["train", "translation", "--pairs", str(pairs), "--vocabulary-size", "290", "--device", "cpu"]
    assert main([*words, *SMALL, "--output", str(path)]) == 0
    return path


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither a cache nor a network."""

    def refuse(source: Source) -> Path:
        raise SourceError(f"{source.name}: no network")

    monkeypatch.setattr(translation, "fetch", refuse)
    tatoeba_pairs.cache_clear()


def error_of(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    return capsys.readouterr().err.strip()


def test_train_saves_what_was_asked_for_and_the_recipe_for_the_rest(model_file: Path, pairs: Path) -> None:
    model, task, metadata = load_model(model_file)
    assert isinstance(model, Transformer)
    assert isinstance(task, Translation)
    assert (model.config.d_model, model.config.num_heads, model.config.d_ff) == (16, 2, 16)
    assert (model.config.dropout, model.config.norm_first, model.config.shared_embeddings) == (0.3, True, True)
    config = training_config(SIZES["small"], 0, steps=3)
    for name in ("schedule", "label_smoothing", "batching", "average_last", "beta2", "epsilon", "warmup"):
        assert metadata["training"][name] == getattr(config, name), name
    assert metadata["training"]["batch_size"] == 8
    assert task.settings() == Translation(pairs=str(pairs), vocabulary_size=290).settings()
    found = evaluate(model, task, task.examples("validation"))  # the whole split
    assert metadata["training"]["validation"] == pytest.approx(found)


def test_the_recipe_is_the_size_for_a_cpu() -> None:
    options = cli._with_recipe(["train", "translation"])
    size = SIZES["small"]
    assert cli._training_config(options) == training_config(size, 0)
    task = type("Task", (), {"source_vocabulary": range(4003), "target_vocabulary": range(4003)})()
    config = cli._model_config(options, task)
    expected = {name: value for name, value in COMMON.items() if name != "max_length"}
    assert config == TransformerConfig(4003, 4003, **expected, **size.transformer)
    other = cli._with_recipe(["train", "translation", "--model", "attention", "--learning-rate", "0.5"])
    assert cli._model_config(other, task).d_hidden == size.transformer["d_model"]
    assert cli._training_config(other).learning_rate == 0.5


def test_other_tasks_keep_their_own_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(cli, "_train_on", lambda device, options: seen.append(options) or 0)
    main(["train", "dates", "--device", "cpu"])
    main(["train", "translation", "--device", "cpu"])
    assert [(o.model, o.steps, o.schedule) for o in seen] == [
        ("attention", 1000, "linear"),
        ("transformer", SIZES["small"].training["steps"], "inverse_sqrt"),
    ]


def test_train_tells_how_to_try_the_model(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    words = ["train", "translation", "--pairs", str(pairs), "--vocabulary-size", "290", "--device", "cpu"]
    assert main([*words, *SMALL, "--output", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    count = len(Translation(pairs=str(pairs), vocabulary_size=290).pairs("validation"))
    assert f"  validation, {count} sentences: BLEU " in lines[2]
    sources = {pair.source for pair in read_pairs(pairs)}
    typed = lines[3].partition("predict translation ")[2].partition(" --model-file")[0].strip("'")
    assert typed in sources


@pytest.mark.parametrize(
    ("more", "part", "count"), [([], "test", None), (["--split", "train", "--count", "9"], "train", 9)]
)
def test_evaluate_says_bleu_and_how_it_was_computed(
    model_file: Path, capsys: pytest.CaptureFixture[str], more: list[str], part: str, count: int | None
) -> None:
    model, task, _ = load_model(model_file)
    assert isinstance(task, Translation)
    examples = task.examples(part) if count is None else task.sample(count, random.Random(0), part)
    texts = [task.text(target) for target in predict(model, task, [e.source for e in examples], beam_size=2)]
    references = [task.text(e.target) for e in examples]
    assert main(["evaluate", "translation", "--model-file", str(model_file), "--beam", "2", *more]) == 0
    right = sum(map(str.__eq__, texts, references)) / len(texts)
    assert capsys.readouterr().out.splitlines() == [
        f"translation: transformer, width 16, 1 + 1 layers, 2 heads, {count_weights(model):,} weights",
        f"  {part}, {len(examples)} sentences: BLEU {bleu(texts, references).value:.1f}, "
        f"chrF {chrf(texts, references).value:.1f}, exact match {100 * right:.1f} %",
        *(f"  {name}: {signature}" for name, signature in signatures().items()),
    ]


def test_predict_needs_neither_sentences_nor_network(
    model_file: Path, nothing: None, capsys: pytest.CaptureFixture[str]
) -> None:
    model, task, _ = load_model(model_file)
    typed = ["the\u202fcat sees Tom .", "猫 👋"]
    for beam in (1, 3):
        words = ["predict", "translation", *typed, "--model-file", str(model_file), "--beam", str(beam)]
        assert main(words) == 0
        written = predict(model, task, [task.parse(text) for text in typed], beam_size=beam)
        assert capsys.readouterr().out == "".join(f"{task.text(ids)}\n" for ids in written)


def test_no_network_is_one_clear_error(nothing: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "translation", "--device", "cpu"]) == 1
    assert capsys.readouterr().err == "transformer-book: tatoeba: no network\n"


def test_wrong_use(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.tsv"
    broken.write_text("a\tb\nc\n")
    for words, message in (
        (["--pairs", str(broken)], f"{broken}, line 2: expected two sentences with a tab between them, got 1"),
        (["--language", "it"], "invalid choice: 'it'"),
        (["--vocabulary-size", "9"], "vocabulary_size: expected an integer ≥ 256, got 9"),
        (["--pairs", str(tmp_path / "absent.tsv")], "No such file or directory"),
        (["--model", "attention", "--shared-embeddings"], "--shared-embeddings: expected with another model"),
    ):
        source = [] if "--pairs" in words or "--language" in words else ["--pairs", str(pairs)]
        assert message in error_of("train", "translation", *source, *words, capsys=capsys)
    assert "--pairs: expected with another task, got with dates" in error_of(
        "train", "dates", "--pairs", str(pairs), capsys=capsys
    )
    broken.write_text("sentence 0\tphrase")  # in the training split: nothing to validate on
    message = error_of("train", "translation", "--pairs", str(broken), "--vocabulary-size", "256", capsys=capsys)
    assert "split: expected one with at least one pair, got 'validation'" in message


def test_ship_stores_a_translator_with_its_scores_and_failures(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(
        "translation",
        lambda source, target: TransformerConfig(source, target, 16, 2, 16, 1, 1, shared_embeddings=True),
        TrainingConfig(steps=3, batch_size=8),
        dtype=torch.float16,
    )
    monkeypatch.setitem(SHIPPED, "translation", recipe)
    task = Translation(pairs=str(pairs), vocabulary_size=290)
    monkeypatch.setattr(shipped, "make_task", lambda name: make_task(name, **task.settings()))
    assert main(["ship", "translation", "--output", str(tmp_path), "--device", "cpu"]) == 0
    [path] = tmp_path.iterdir()
    model, again, metadata = load_model(path)
    assert isinstance(again, Translation)
    found = evaluate(model, again, again.examples("test"), beam_size=4)  # of the weights as stored
    assert metadata["training"]["test"] == found
    assert f"test, all sentences: BLEU {found['bleu']:.1f}" in capsys.readouterr().out
    assert metadata["training"]["signatures"] == signatures()
    rows = metadata["training"]["failures"]
    assert rows
    for row in rows:
        [ids] = predict(model, again, [again.parse(row["source"])], beam_size=4)
        assert again.text(ids) == row["translation"]
        assert (row["source"], row["reference"]) in again.pairs("test")
