"""The models that can be trained, saved and loaded: a configuration decides which."""

from typing import TypeAlias, overload

from transformer_book.device import seeded
from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.transformer import Transformer, TransformerConfig

Config: TypeAlias = Seq2SeqConfig | TransformerConfig
Model: TypeAlias = Seq2Seq | Transformer

#: Name of the architecture, as saved files have it → its configuration.
CONFIGS: dict[str, type[Config]] = {"Seq2Seq": Seq2SeqConfig, "Transformer": TransformerConfig}


@overload
def new_model(config: Seq2SeqConfig, seed: int) -> Seq2Seq: ...
@overload
def new_model(config: TransformerConfig, seed: int) -> Transformer: ...
def new_model(config: Config, seed: int) -> Model:
    """Make a model whose weights depend on `seed` alone; torch's own random state is left as it was.

    Parameters
    ----------
    config
        Sizes and parts; of a `Seq2Seq` or of a `Transformer`.
    seed
        Of the initial weights.
    """
    with seeded(seed):
        return Seq2Seq(config) if isinstance(config, Seq2SeqConfig) else Transformer(config)
