"""Saved models: weights as safetensors, and with them all that is needed to use them."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from transformer_book.files import commit, replacing
from transformer_book.tasks import make_task
from transformer_book.tasks.task import Task
from transformer_book.training.models import CONFIGS, Model, new_model

FORMAT = "transformer-book model 2"
ASSETS = Path(__file__).resolve().parents[1] / "assets"


def save_model(
    path: Path, model: Model, task: Task, training: dict[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write a model, atomically: the file is the old one or the new one, never half of either.

    A weight that the model uses in several places is stored once.

    Parameters
    ----------
    path
        Where to; ``NAME.safetensors``.
    model, task
        The model and what it was trained on.
    training
        How it was trained and how good it is; JSON values.
    dtype
        What the weights are rounded to in the file, for example ``torch.float16``, half the size; None stores
        them as they are. `load_model` gives float32 in any case.
    """
    metadata = {
        "format": FORMAT,
        "architecture": type(model).__name__,
        "model": asdict(model.config),
        "task": {"name": task.name, "settings": task.settings(), "symbols": _symbols(task)},
        "training": training,
        "version": version("transformer-book"),
        "commit": commit(),
    }
    state, names = model.state_dict(), dict.fromkeys(_stored_names(model).values())
    weights = {name: state[name].detach().to("cpu", dtype).contiguous() for name in names}
    with replacing(path) as part:
        save_file(weights, part, {"transformer_book": json.dumps(metadata, allow_nan=False)})


def load_model(path: Path) -> tuple[Model, Task, dict[str, Any]]:
    """Read a saved model.

    Parameters
    ----------
    path
        Written by `save_model`.

    Returns
    -------
    model : Seq2Seq or Transformer
        On the CPU.
    task : Task
        What it was trained on.
    metadata : dict
        Of the file: ``architecture``, ``model``, ``task``, ``training``, ``version``, ``commit``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, is no model of this package, or its task has changed since.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("transformer_book", "{}")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        metadata = json.loads(text)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"expected the mark {FORMAT!r}")
        model = new_model(CONFIGS[metadata["architecture"]](**metadata["model"]), seed=0)
        shared = {name: weights[stored] for name, stored in _stored_names(model).items() if stored in weights}
        model.load_state_dict({**weights, **shared})
        task = make_task(metadata["task"]["name"], **metadata["task"]["settings"])
        if _symbols(task) != metadata["task"]["symbols"]:
            raise ValueError("its vocabulary is no longer that of the task")
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path}: expected a model of this package, got a damaged or foreign file ({reason})"
        ) from None
    return model.eval(), task, metadata


def load_asset(name: str) -> tuple[Model, Task, dict[str, Any]]:
    """Read a model that comes with the package; see `load_model`.

    Raises
    ------
    FileNotFoundError
        There is none of that name; the message lists those there are.
    """
    return load_model(asset_file(name))


def asset_file(name: str) -> Path:
    """Where the model lies that comes with the package under that name.

    Raises
    ------
    FileNotFoundError
        There is none of that name; the message lists those there are.
    """
    path = ASSETS / f"{name}.safetensors"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in ASSETS.glob("*.safetensors"))) or "no model at all"
        raise FileNotFoundError(f"asset: expected one of the package's models ({names}), got {name!r}")
    return path


def _stored_names(model: Model) -> dict[str, str]:
    """Every name in the model's state → the first name of the same weight, under which it is stored."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(weight), name) for name, weight in model.state_dict(keep_vars=True).items()}


def _symbols(task: Task) -> dict[str, list[str]]:
    return {"source": list(task.source_vocabulary.symbols), "target": list(task.target_vocabulary.symbols)}
