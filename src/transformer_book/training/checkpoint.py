"""Checkpoints: all that a training needs to go on as if it had never stopped."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from transformer_book.files import replacing

FORMAT = "transformer-book checkpoint 2"


def save_checkpoint(
    path: Path,
    identity: dict[str, Any],
    model: nn.Module,
    optimizer: Optimizer,
    losses: list[float],
    kept: dict[int, dict[str, Tensor]],
) -> None:
    """Write weights, optimiser and losses, atomically: the file is the old one or the new one, never half.

    Parameters
    ----------
    path
        Where to.
    identity
        What makes this training the one it is: JSON values. `load_checkpoint` demands the same.
    model, optimizer
        Their states are stored.
    losses
        Loss of each step done; their count is the step to go on from.
    kept
        Number of steps done → the weights then, of the moments whose mean the training will end in.
    """
    data = {
        "format": FORMAT,
        "identity": identity,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "losses": losses,
        "kept": kept,
    }
    with replacing(path) as part:
        torch.save(data, part)


def load_checkpoint(
    path: Path, identity: dict[str, Any], model: nn.Module, optimizer: Optimizer
) -> tuple[list[float], dict[int, dict[str, Tensor]]]:
    """Put a stored state into a model and its optimiser. The file is only read.

    Parameters
    ----------
    path
        Written by `save_checkpoint`.
    identity
        Of the training that goes on.
    model, optimizer
        Are given the stored states; unchanged when an error is raised.

    Returns
    -------
    losses : list of float
        Loss of each step done.
    kept : dict
        Number of steps done → the weights then.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, is no checkpoint, or is that of another training: the message says what differs.
    """
    data = read_checkpoint(path)
    wanted, found = _flat(identity), _flat(data["identity"])
    differing = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    if differing:
        expected, got = (", ".join(f"{name} {side.get(name)!r}" for name in differing) for side in (wanted, found))
        raise ValueError(f"{path}: expected the checkpoint of a training with {expected}; got {got}")
    model.load_state_dict(data["model"])
    optimizer.load_state_dict(data["optimizer"])
    return data["losses"], data["kept"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote: ``identity``, ``model``, ``optimizer``, ``losses``, ``kept``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged or is no checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # as torch.save writes; it has a checksum for each part
            damaged = archive.testzip()
        data = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes of any kind raise errors of any kind
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path}: expected a checkpoint, got a damaged or foreign file ({reason})") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = repr(data.get("format")) if isinstance(data, dict) else "none"
        reason = f"{damaged} is damaged" if damaged else f"expected the mark {FORMAT!r}, got {found}"
        raise ValueError(f"{path}: expected a checkpoint, got a damaged or foreign file ({reason})")
    return data


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Turn ``{"training": {"steps": 5}}`` into ``{"training.steps": 5}``."""
    return {f"{part}.{name}": value for part, values in identity.items() for name, value in values.items()}
