"""The small trained models that come with the package: how each is made, and made again."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch

from transformer_book.device import CPU
from transformer_book.experiments.copying_models import bits_left
from transformer_book.experiments.date_models import LEARNING_RATE, SMALL
from transformer_book.experiments.translation import failures
from transformer_book.experiments.translation_models import BEAM, COMMON, SIZES, training_config, translate
from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks import make_task
from transformer_book.tasks.bleu import signatures
from transformer_book.tasks.translation import Translation
from transformer_book.training import Config, TrainingConfig, evaluate, new_model, save_model, train
from transformer_book.transformer import TransformerConfig

TEST_COUNT = 2000


@dataclass(frozen=True)
class Recipe:
    """How a shipped model is made.

    Parameters
    ----------
    task
        Name of its task, with the default settings.
    config
        Makes the configuration from the numbers of source and target ids.
    training
        Steps, batches and learning rate.
    dtype
        What the weights are rounded to when stored; None keeps them as they are.
    """

    task: str
    config: Callable[[int, int], Config]
    training: TrainingConfig
    dtype: torch.dtype | None = None


#: Name of the model → how it is made.
SHIPPED: dict[str, Recipe] = {
    **{
        f"copying_{width}": Recipe(
            "copying", partial(Seq2SeqConfig, d_hidden=width), TrainingConfig(steps=3000, learning_rate=1e-2)
        )
        for width in (16, 32, 64)
    },
    "dates": Recipe(
        "dates",
        partial(Seq2SeqConfig, d_hidden=64, score="additive"),
        TrainingConfig(steps=3000, learning_rate=5e-3),
    ),
    "dates_transformer": Recipe(
        "dates",
        partial(TransformerConfig, **{**SMALL, "num_encoder_layers": 2, "num_decoder_layers": 2}),
        TrainingConfig(steps=3000, learning_rate=LEARNING_RATE),
    ),
    "translation": Recipe(
        "translation",
        partial(TransformerConfig, **COMMON, **SIZES["shipped"].transformer),
        training_config(SIZES["shipped"], seed=0),
        dtype=torch.float16,
    ),
}


def ship(
    name: str, folder: Path, device: torch.device = CPU, progress: bool = False, probe_count: int = 3000
) -> dict[str, float]:
    """Train a shipped model from its recipe, test it, and store it as ``folder/name.safetensors``.

    A copier's metadata hold ``training["bits_left"]``: for each length n = 1, 2, … trained on, the bits a linear
    probe finds in the context about each of the n digits. A translator's hold ``training["signatures"]`` of its
    scores and ``training["failures"]``, its worst translations.

    Parameters
    ----------
    name
        One of `SHIPPED`.
    folder
        Where to write; a training that was interrupted goes on from ``folder/name.checkpoint``.
    device
        Where to train.
    progress
        Show a progress bar.
    probe_count
        Strings per length a copier's context is probed with.

    Returns
    -------
    dict
        Exact match, token accuracy and error rate on `TEST_COUNT` test examples; of a translator also BLEU and
        chrF, on the whole test split, with a beam of `BEAM`.

    Raises
    ------
    ValueError
        There is no such recipe, or the checkpoint is of another training.
    OSError
        The folder cannot be written.
    """
    if name not in SHIPPED:
        raise ValueError(f"name: expected one of {', '.join(SHIPPED)}, got {name!r}")
    recipe = SHIPPED[name]
    task = make_task(recipe.task)
    sizes = (len(task.source_vocabulary), len(task.target_vocabulary))
    model = new_model(recipe.config(*sizes), recipe.training.seed)
    checkpoint = folder / f"{name}.checkpoint"
    train(model, task, recipe.training, device, checkpoint, progress)
    if recipe.dtype is not None:
        model.to(recipe.dtype).float()  # judged as it will be stored
    translator = isinstance(task, Translation)
    examples = task.examples("test") if translator else task.sample(TEST_COUNT, Random("shipped"), "test")
    metrics = evaluate(model, task, examples, beam_size=BEAM if translator else 1)
    training = {**asdict(recipe.training), "command": f"transformer-book ship {name}", "test": metrics}
    if recipe.task == "copying":
        lengths = range(1, task.max_target_length)
        assert isinstance(model, Seq2Seq)
        training["bits_left"] = [bits_left(model, length, probe_count, seed=0) for length in lengths]
    if translator:
        training["signatures"] = signatures()
        training["failures"] = failures(task, examples, translate(model, task, examples, BEAM))
    save_model(folder / f"{name}.safetensors", model, task, training, recipe.dtype)
    checkpoint.unlink()
    return metrics
