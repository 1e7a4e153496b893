"""Models that translate: how the experiments and the shipped Transformer make, train and read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.tasks.task import Example
from transformer_book.tasks.translation import Translation
from transformer_book.training import Model, TrainingConfig, new_model, predict
from transformer_book.transformer import Transformer, TransformerConfig

#: Beam of the final score, and its length penalty by `beam_search`'s own default: both the paper's (6.1).
BEAM = 4


@dataclass(frozen=True)
class Size:
    """How large two models are that translate, and how they are trained.

    Parameters
    ----------
    vocabulary_size
        Subwords.
    transformer
        Sizes of the Transformer, as in `TransformerConfig`.
    d_embed
        Width of the recurrent model's embeddings; its layers are as wide as makes it as large as the Transformer.
    training
        As in `TrainingConfig`; the same for both.
    """

    vocabulary_size: int
    transformer: dict[str, Any]
    d_embed: int
    training: dict[str, Any]


#: What all Transformers have here: the paper's model, but norms before the sub-layers, and more dropout, since
#: there are 31,000 pairs and not 4,500,000.
COMMON: dict[str, Any] = {"dropout": 0.3, "norm_first": True, "shared_embeddings": True, "max_length": 256}

#: What all trainings have: warm-up and label smoothing as in the paper, batches of about one length, and the mean
#: of the last weights.
RECIPE: dict[str, Any] = {
    "schedule": "inverse_sqrt",
    "label_smoothing": 0.1,
    "batching": "length",
    "average_last": 10,
    "beta2": 0.98,
    "epsilon": 1e-9,
}

#: ``"small"`` for minutes on one CPU core, ``"base"`` for minutes on a GPU; ``"shipped"``, trained as long as
#: that, is what comes with the package: in float16 its weights take 8 MB.
SIZES: dict[str, Size] = {
    "small": Size(
        vocabulary_size=4000,
        transformer={
            "d_model": 128,
            "num_heads": 4,
            "d_ff": 512,
            "num_encoder_layers": 2,
            "num_decoder_layers": 2,
        },
        d_embed=128,
        training={"steps": 1500, "batch_size": 64, "learning_rate": 2e-3, "warmup": 0.1, "average_every": 25},
    ),
    "base": Size(
        vocabulary_size=8000,
        transformer={
            "d_model": 256,
            "num_heads": 4,
            "d_ff": 1024,
            "num_encoder_layers": 3,
            "num_decoder_layers": 3,
        },
        d_embed=256,
        training={"steps": 2400, "batch_size": 512, "learning_rate": 3e-3, "warmup": 0.1, "average_every": 40},
    ),
    "shipped": Size(
        vocabulary_size=4000,
        transformer={
            "d_model": 192,
            "num_heads": 4,
            "d_ff": 768,
            "num_encoder_layers": 3,
            "num_decoder_layers": 3,
        },
        d_embed=192,
        training={"steps": 2400, "batch_size": 512, "learning_rate": 3e-3, "warmup": 0.1, "average_every": 40},
    ),
}


def new_translator(task: Translation, seed: int, size: Size, **parts: Any) -> Transformer:
    """Make an untrained Transformer that translates, of a size, unless `parts` say otherwise."""
    vocabulary = len(task.source_vocabulary)
    return new_model(TransformerConfig(vocabulary, vocabulary, **{**COMMON, **size.transformer, **parts}), seed)


def new_recurrent_translator(
    task: Translation, seed: int, size: Size, weights: int, dropout: float = COMMON["dropout"]
) -> Seq2Seq:
    """Make an untrained GRU encoder–decoder with additive attention that translates, as large as asked for.

    It is chapter 3's model, with two things that the Transformer has, too: one embedding for both languages, and
    dropout, here of the embeddings and of what the readout reads. A recurrent layer's own connections are not
    dropped (Zaremba, Sutskever & Vinyals 2014, section 3.1).

    Parameters
    ----------
    task
        Gives the vocabulary.
    seed
        Of the initial weights.
    size
        Gives the width of its embeddings.
    weights
        How many weights it is to have: the width of its recurrent layers is the multiple of 8 that comes nearest.
    dropout
        Share set to zero in training.
    """
    vocabulary = len(task.source_vocabulary)

    def config(width: int) -> Seq2SeqConfig:
        return Seq2SeqConfig(vocabulary, vocabulary, d_embed=size.d_embed, d_hidden=width, score="additive")

    def distance(width: int) -> int:
        with torch.device("meta"):  # counted, not made
            return abs(count_weights(_share(Seq2Seq(config(width)))) - weights)

    width = min(range(8, 1025, 8), key=distance)
    model = _share(new_model(config(width), seed))
    model.encoder.embedding = _DroppedEmbedding(model.encoder.embedding, dropout)
    model.decoder.embedding = model.encoder.embedding
    model.decoder.readout = _DroppedLinear(model.decoder.readout, dropout)
    return model


def _share(model: Seq2Seq) -> Seq2Seq:
    model.decoder.embedding = model.encoder.embedding
    return model


class _DroppedEmbedding(nn.Embedding):
    """Embeddings, some units of which are dropped in training."""

    def __init__(self, embedding: nn.Embedding, dropout: float) -> None:
        super().__init__(embedding.num_embeddings, embedding.embedding_dim, _weight=embedding.weight.detach())
        self.dropout = dropout

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in torch
        """Map ids ``(B, T)`` to ``(B, T, D)``."""
        return F.dropout(super().forward(input), self.dropout, self.training)


class _DroppedLinear(nn.Linear):
    """A linear map, some units of whose input are dropped in training."""

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        super().__init__(linear.in_features, linear.out_features)
        self.load_state_dict(linear.state_dict())
        self.dropout = dropout

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in torch
        """Map ``(B, T, D)`` to ``(B, T, V)``."""
        return super().forward(F.dropout(input, self.dropout, self.training))


def count_weights(model: nn.Module) -> int:
    """Count the weights of a model; one that stands in several places counts once."""
    return sum(weight.numel() for weight in model.parameters())


def training_config(size: Size, seed: int, **parts: Any) -> TrainingConfig:
    """Make the training of a size, unless `parts` say otherwise; a short one averages over what it has."""
    chosen = {**RECIPE, **size.training, **parts, "seed": seed}
    moments = max(chosen["average_last"], 1)
    if "steps" in parts:  # the averaged part stays the same share of the training
        scale = parts["steps"] / size.training["steps"]
        chosen["average_every"] = max(1, round(chosen["average_every"] * scale))
        chosen["average_last"] = min(moments, (chosen["steps"] - 1) // chosen["average_every"] + 1)
    return TrainingConfig(**chosen)


def translate(model: Model, task: Translation, examples: Sequence[Example], beam_size: int = 1) -> list[str]:
    """Translate the sources of examples; see `predict`."""
    sources = [example.source for example in examples]
    return [task.text(target) for target in predict(model, task, sources, beam_size=beam_size)]
