"""Saved models come back with all that is needed to use them; whatever is none is refused, named, left alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from transformer_book.files import commit
from transformer_book.seq2seq import Seq2Seq
from transformer_book.tasks.copying import Copying
from transformer_book.training import asset_file, load_asset, load_model, predict, save_model
from transformer_book.transformer import Transformer

Make = Callable[..., Seq2Seq]
Same = Callable[[torch.nn.Module, torch.nn.Module], bool]
TRAINING = {"steps": 5, "validation": {"exact_match": 0.1 + 0.2}}


@pytest.fixture
def stored(tmp_path: Path, task: Copying, make_model: Make) -> Path:
    path = tmp_path / "new" / "model.safetensors"
    save_model(path, make_model(seed=3), task, TRAINING)
    return path


@pytest.mark.parametrize(
    "parts", [{}, {"cell": "lstm", "score": "bilinear"}, {"cell": "rnn", "d_embed": 5}], ids=str
)
def test_what_was_saved_comes_back(
    tmp_path: Path, make_model: Make, same: Same, task: Copying, parts: dict[str, Any]
) -> None:
    path = tmp_path / "model.safetensors"
    model = make_model(seed=3, **parts)
    save_model(path, model, task, TRAINING)
    before = torch.get_rng_state()
    loaded, its_task, metadata = load_model(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.config == model.config
    assert same(loaded, model)
    assert type(its_task) is Copying
    assert its_task.settings() == task.settings()
    assert metadata["training"] == TRAINING
    assert metadata["commit"] == commit()
    assert metadata["version"]
    assert metadata["task"]["symbols"] == {"source": list("0123456789"), "target": list("0123456789")}
    assert predict(loaded, its_task, ["123", "4"]) == predict(model, task, ["123", "4"])
    assert list(tmp_path.iterdir()) == [path]


def test_a_transformer_comes_back(
    tmp_path: Path, make_transformer: Callable[..., Transformer], same: Same, task: Copying
) -> None:
    path = tmp_path / "model.safetensors"
    model = make_transformer(seed=3, norm_first=True, positions="learned", num_decoder_layers=2)
    save_model(path, model, task, TRAINING)
    loaded, its_task, metadata = load_model(path)
    assert isinstance(loaded, Transformer)
    assert loaded.config == model.config
    assert same(loaded, model)
    assert not loaded.training
    assert metadata["architecture"] == "Transformer"
    assert predict(loaded, its_task, ["123", "4"]) == predict(model, task, ["123", "4"])


def test_a_shared_weight_is_stored_once_and_shared_again(
    tmp_path: Path, make_transformer: Callable[..., Transformer], same: Same, task: Copying
) -> None:
    path = tmp_path / "model.safetensors"
    model = make_transformer(seed=3, shared_embeddings=True)
    save_model(path, model, task, TRAINING)
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
    assert names == {name for name, _ in model.named_parameters()}
    loaded, _, _ = load_model(path)
    assert isinstance(loaded, Transformer)
    assert same(loaded, model)
    assert loaded.readout.weight is loaded.source_embedding.tokens.weight


def test_weights_can_be_rounded(tmp_path: Path, make_model: Make, task: Copying) -> None:
    path, model = tmp_path / "model.safetensors", make_model(seed=3)
    save_model(path, model, task, TRAINING, torch.float16)
    loaded, _, _ = load_model(path)
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, model.state_dict()[name].half().float())
    with safe_open(path, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_it_is_a_plain_safetensors_file(stored: Path, make_model: Make) -> None:
    with safe_open(stored, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert set(weights) == set(make_model().state_dict())


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "interrupt"])
def test_a_failing_write_leaves_the_file_there_was(
    stored: Path, make_model: Make, task: Copying, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = stored.read_bytes()

    def half(_: object, path: Path, __: object) -> None:
        Path(path).write_bytes(before[:100])
        raise error

    monkeypatch.setattr("transformer_book.training.saved.save_file", half)
    with pytest.raises(type(error)):
        save_model(stored, make_model(), task, TRAINING)
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]


def refused(path: Path, reason: str) -> None:
    before = path.read_bytes()
    message = f"{path}: expected a model of this package, got a damaged or foreign file ("
    with pytest.raises(ValueError, match=f"^{re.escape(message)}{reason}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kept", [0, 3, 100, -1], ids=str)
def test_a_truncated_file_is_refused(stored: Path, kept: int) -> None:
    stored.write_bytes(stored.read_bytes()[:kept])
    refused(stored, ".+")


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_text("my diary, which is longer than eight bytes", encoding="utf-8")
    refused(path, ".+")
    save_file({"weight": torch.zeros(3)}, path)
    refused(path, r"expected the mark 'transformer-book model 2'\)$")
    save_file({"weight": torch.zeros(3)}, path, {"transformer_book": "[1]"})
    refused(path, ".+")


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    """Store the model again, with something changed."""
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["transformer_book"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(metadata, weights)
    save_file(weights, path, {"transformer_book": json.dumps(metadata)})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda metadata, _: metadata.update(format="transformer-book model 3"), "expected the mark"),
        (lambda metadata, _: metadata.pop("model"), "'model'"),
        (lambda metadata, _: metadata.update(architecture="Mamba"), "'Mamba'"),
        (lambda metadata, _: metadata.update(architecture="Transformer"), ".*unexpected keyword argument"),
        (lambda metadata, _: metadata["model"].update(cell="qrnn"), "cell: expected one of"),
        (lambda metadata, _: metadata["model"].update(depth=2), ".*unexpected keyword argument 'depth'"),
        (lambda metadata, _: metadata["model"].update(d_hidden=11), r"Error\(s\) in loading state_dict"),
        (lambda _, weights: weights.popitem(), r"Error\(s\) in loading state_dict"),
        (lambda metadata, _: metadata["task"].update(name="sorting"), ".*sorting"),
        (lambda metadata, _: metadata["task"]["settings"].update(longest=0), ".*longest"),
        (
            lambda metadata, _: metadata["task"]["symbols"]["target"].reverse(),
            "its vocabulary is no longer that of",
        ),
    ],
    ids=[
        "version",
        "no model",
        "architecture",
        "another",
        "cell",
        "part",
        "width",
        "weight",
        "task",
        "setting",
        "vocabulary",
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    stored: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None], reason: str
) -> None:
    rewritten(stored, change)
    refused(stored, reason)


def test_no_file_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "model.safetensors")


def test_what_cannot_be_stored_as_json_is_told(tmp_path: Path, make_model: Make, task: Copying) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_model(tmp_path / "model.safetensors", make_model(), task, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_an_asset_is_a_model_that_comes_with_the_package(
    stored: Path, monkeypatch: pytest.MonkeyPatch, same: Same, make_model: Make
) -> None:
    monkeypatch.setattr("transformer_book.training.saved.ASSETS", stored.parent)
    assert asset_file("model") == stored
    assert same(load_asset("model")[0], make_model(seed=3))
    message = "asset: expected one of the package's models (model), got 'modle'"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        load_asset("modle")
