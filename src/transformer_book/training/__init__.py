"""Train sequence-to-sequence models on the book's tasks, store them, and judge them."""

from transformer_book.training.averaging import average_weights
from transformer_book.training.batches import make_batch, padding_share
from transformer_book.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from transformer_book.training.config import TrainingConfig
from transformer_book.training.evaluation import evaluate, predict
from transformer_book.training.loop import learning_rate, masked_cross_entropy, seconds_per_step, train
from transformer_book.training.models import Config, Model, new_model
from transformer_book.training.saved import asset_file, load_asset, load_model, save_model

__all__ = [
    "Config",
    "Model",
    "TrainingConfig",
    "asset_file",
    "average_weights",
    "evaluate",
    "learning_rate",
    "load_asset",
    "load_checkpoint",
    "load_model",
    "make_batch",
    "masked_cross_entropy",
    "new_model",
    "padding_share",
    "predict",
    "read_checkpoint",
    "save_checkpoint",
    "save_model",
    "seconds_per_step",
    "train",
]
