"""Copy weights from torch.nn modules, and from published checkpoints, into the modules of this package."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transformer_book.attention import MultiHeadAttention
from transformer_book.recurrent import GRU, LSTM, Recurrent, SimpleRNN
from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig
from transformer_book.shapes import shape_text

_RECURRENT: dict[type[Recurrent], type[nn.RNNBase]] = {SimpleRNN: nn.RNN, GRU: nn.GRU, LSTM: nn.LSTM}


@torch.no_grad()
def load_torch(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy the weights of a torch.nn module into the module of this package that computes the same.

    Everything is checked before the first weight is written: `ours` is unchanged when an error is raised.

    Parameters
    ----------
    ours
        A module of this package. Supported: `MultiHeadAttention`, `SimpleRNN`, `GRU`, `LSTM`.
    theirs
        Its counterpart: `torch.nn.MultiheadAttention` with or without bias, with or without separate key and
        value widths equal to the model width; `torch.nn.RNN` with tanh, `torch.nn.GRU` or `torch.nn.LSTM` of one
        layer in one direction, with or without bias. batch_first may be True or False: the weights are the same.

    Raises
    ------
    TypeError
        There is no way to copy between these two classes.
    ValueError
        Sizes differ, or `theirs` has parts that `ours` has not (bias_kv, zero attention; more layers, a second
        direction, a projection, another nonlinearity).
    """
    if isinstance(ours, MultiHeadAttention) and isinstance(theirs, nn.MultiheadAttention):
        return _load_multi_head(ours, theirs)
    for ours_class, theirs_class in _RECURRENT.items():
        if isinstance(ours, ours_class) and isinstance(theirs, theirs_class):
            return _load_recurrent(ours, theirs)
    raise TypeError(
        "ours and theirs: expected MultiHeadAttention, SimpleRNN, GRU or LSTM and its torch.nn counterpart, "
        f"got {type(ours).__name__} and {type(theirs).__name__}"
    )


def _load_multi_head(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    if theirs.num_heads != ours.num_heads:
        raise ValueError(f"num_heads: expected {ours.num_heads}, got {theirs.num_heads}")
    if theirs.bias_k is not None or theirs.bias_v is not None or theirs.add_zero_attn:
        raise ValueError("theirs: expected add_bias_kv=False and add_zero_attn=False, got one of them True")
    if theirs.in_proj_weight is not None:
        weights = list(theirs.in_proj_weight.chunk(3))
    else:
        parts = (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
        weights = [part for part in parts if part is not None]
    biases: list[Tensor | None] = [None] * 3 if theirs.in_proj_bias is None else list(theirs.in_proj_bias.chunk(3))
    sources = zip([*weights, theirs.out_proj.weight], [*biases, theirs.out_proj.bias], strict=True)
    pairs = list(zip((ours.query, ours.key, ours.value, ours.output), sources, strict=True))
    for linear, (weight, _) in pairs:
        if weight.shape != linear.weight.shape:
            raise ValueError(f"weight: expected shape {shape_text(linear.weight)}, got {shape_text(weight)}")
    for linear, (weight, bias) in pairs:
        linear.weight.copy_(weight)
        linear.bias.zero_() if bias is None else linear.bias.copy_(bias)


def _load_recurrent(ours: Recurrent, theirs: nn.RNNBase) -> None:
    parts = {
        "num_layers": (theirs.num_layers, 1),
        "bidirectional": (theirs.bidirectional, False),
        "proj_size": (theirs.proj_size, 0),
        "nonlinearity": (getattr(theirs, "nonlinearity", "tanh"), "tanh"),
        "input_size": (theirs.input_size, ours.d_input),
        "hidden_size": (theirs.hidden_size, ours.d_hidden),
    }
    for name, (got, expected) in parts.items():
        if got != expected:
            raise ValueError(f"{name}: expected {expected!r}, got {got!r}")
    weights = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        parameter.copy_(weights[name]) if name in weights else parameter.zero_()


@torch.no_grad()
def load_published_g2p(arrays: Mapping[str, NDArray[np.float32]]) -> Seq2Seq:
    """Make the model of the published g2p-en weights: words to phonemes through one vector, no attention.

    That model's decoder sees the context as its first state only. Ours sees it again at every step, through
    weights that are set to zero here.

    Parameters
    ----------
    arrays
        As `transformer_book.tasks.pronunciation.load_published` returns them.

    Returns
    -------
    Seq2Seq
        In evaluation mode; its ``start_id`` and ``end_id`` are those of the published model, 2 and 3.

    Raises
    ------
    ValueError
        An array is missing or of another shape.
    """
    width = 256
    model = Seq2Seq(Seq2SeqConfig(source_vocab=29, target_vocab=74, d_embed=width, d_hidden=width))
    model.start_id, model.end_id = 2, 3
    names = {"encoder": "enc", "decoder": "dec"}
    theirs = {
        f"{ours}.recurrent.{kind}_{side}_l0": f"{name}_{kind[0]}_{side}"
        for ours, name in names.items()
        for kind in ("weight", "bias")
        for side in ("ih", "hh")
    }
    theirs |= {f"{ours}.embedding.weight": f"{name}_emb" for ours, name in names.items()}
    theirs |= {"decoder.readout.weight": "fc_w", "decoder.readout.bias": "fc_b"}
    for ours, parameter in model.named_parameters():
        name = theirs[ours]
        expected = list(parameter.shape)
        if parameter.ndim == 2 and parameter.shape[1] == 2 * width:
            expected[1] = width  # the other half is for the context
        if name not in arrays or list(arrays[name].shape) != expected:
            got = tuple(arrays[name].shape) if name in arrays else "none"
            raise ValueError(f"{name}: expected an array {tuple(expected)}, got {got}")
        parameter.zero_()
        parameter[..., : expected[-1]] = torch.from_numpy(arrays[name])
    return model.eval()
