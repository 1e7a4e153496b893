"""Read the published weights of g2p-en."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig


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
