"""Checkpoints come back as they were; whatever is none is refused, named, and left alone."""

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from transformer_book.training import load_checkpoint, read_checkpoint, save_checkpoint

IDENTITY = {"model": {"width": 7}, "training": {"steps": 5, "seed": 3}}


def stepped(seed: int, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small model after some updates with Adam."""
    model = nn.Linear(3, 5)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        nn.init.normal_(weight, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    for _ in range(steps):
        update(model, optimizer)
    return model, optimizer


def update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.arange(6.0).reshape(2, 3)).square().mean().backward()
    optimizer.step()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, IDENTITY, *stepped(0, steps=2), [0.5, 0.1 + 0.2], {2: {"bias": torch.arange(5.0)}})
    return path


def test_what_was_stored_goes_on_as_if_it_had_never_stopped(stored: Path) -> None:
    model, optimizer = stepped(1, steps=0)
    losses, kept = load_checkpoint(stored, IDENTITY, model, optimizer)
    assert losses == [0.5, 0.1 + 0.2]
    assert [*kept] == [2]
    assert torch.equal(kept[2]["bias"], torch.arange(5.0))
    never_stopped = stepped(0, steps=2)
    update(model, optimizer)
    update(*never_stopped)
    assert torch.equal(model.weight, never_stopped[0].weight)
    assert torch.equal(model.bias, never_stopped[0].bias)


def test_the_file_says_what_it_is(stored: Path) -> None:
    assert set(read_checkpoint(stored)) == {"format", "identity", "model", "optimizer", "losses", "kept"}
    assert read_checkpoint(stored)["identity"] == IDENTITY


def refused(path: Path, message: str) -> None:
    """Nothing may be changed by a file that is refused, the file neither."""
    before = path.read_bytes()
    model, optimizer = stepped(1, steps=0)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}") as caught:
        load_checkpoint(path, IDENTITY, model, optimizer)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert torch.equal(model.weight, stepped(1, steps=0)[0].weight)
    assert not optimizer.state


@pytest.mark.parametrize("kept", [0, 1, 10, 0.3, 0.7, -30, -1], ids=str)
def test_a_truncated_file_is_refused(stored: Path, kept: float) -> None:
    whole = stored.read_bytes()
    stored.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    refused(stored, r"expected a checkpoint, got a damaged or foreign file \(File is not a zip file\)$")


def test_a_damaged_byte_is_found(stored: Path) -> None:
    data = bytearray(stored.read_bytes())
    weight = stepped(0, steps=2)[0].weight.detach().numpy().tobytes()
    data[data.index(weight) + 2] ^= 1
    stored.write_bytes(data)
    refused(stored, r"expected a checkpoint, got a damaged or foreign file \(\S+data/\d+ is damaged\)$")


class Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (Path("trapped"),)  # type: ignore[return-value]


def foreign_text(path: Path) -> None:
    path.write_text("my diary", encoding="utf-8")


def foreign_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "mine")


def foreign_weights(path: Path) -> None:
    torch.save(nn.Linear(3, 5).state_dict(), path)


def foreign_tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def foreign_module(path: Path) -> None:
    torch.save(nn.Linear(3, 5), path)


def foreign_trap(path: Path) -> None:
    torch.save({"format": Trap()}, path)


def foreign_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"format": "transformer-book checkpoint 2"}))


def foreign_version(path: Path) -> None:
    torch.save({"format": "transformer-book checkpoint 1", "losses": []}, path)


@pytest.mark.parametrize(
    "write",
    [
        foreign_text,
        foreign_archive,
        foreign_weights,
        foreign_tensor,
        foreign_module,
        foreign_trap,
        foreign_pickle,
        foreign_version,
    ],
)
def test_a_foreign_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint"
    write(path)
    refused(path, r"expected a checkpoint, got a damaged or foreign file \(.+\)$")
    assert not (tmp_path / "trapped").exists()


def test_an_older_checkpoint_is_told_apart(tmp_path: Path) -> None:
    foreign_version(tmp_path / "checkpoint")
    marks = "expected the mark 'transformer-book checkpoint 2', got 'transformer-book checkpoint 1'"
    refused(tmp_path / "checkpoint", rf"expected a checkpoint, got a damaged or foreign file \({marks}\)$")


def test_no_file_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(IsADirectoryError):
        read_checkpoint(tmp_path)


def test_the_checkpoint_of_another_training_is_told_all_that_differs(stored: Path) -> None:
    before = stored.read_bytes()
    model, optimizer = stepped(1, steps=0)
    other = {"model": {"width": 11}, "training": {"steps": 5, "warmup": 0.5}}
    message = (
        f"{stored}: expected the checkpoint of a training with model.width 11, training.warmup 0.5, "
        "training.seed None; got model.width 7, training.warmup None, training.seed 3"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_checkpoint(stored, other, model, optimizer)
    assert stored.read_bytes() == before
    assert torch.equal(model.weight, stepped(1, steps=0)[0].weight)


@pytest.mark.parametrize("step", ["save", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "interrupt"])
def test_a_failing_write_leaves_the_last_checkpoint(
    stored: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    before = stored.read_bytes()

    def half(_: object, path: Path) -> None:
        path.write_bytes(before[:100])
        raise error

    if step == "save":
        monkeypatch.setattr(torch, "save", half)
    else:
        monkeypatch.setattr(Path, "replace", lambda path, target: half(target, path))
    with pytest.raises(type(error)):
        save_checkpoint(stored, IDENTITY, *stepped(5, steps=1), [0.7], {})
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]
