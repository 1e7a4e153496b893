"""The same Transformer, faster. Axis letters are those of `transformer_book.shapes`; N counts real tokens.

No chapter needs this module and nothing imports it: `transformer_book.transformer` is the form to read, this is
the form to run. `FastTransformer` has the same weights under the same names, gives the same numbers, and leaves
out work that changes none of them:

- *Packing.* What looks at one token at a time (projections, feed-forward, norms, dropout) sees the N real tokens
  of a batch, ``(N, D)``, and no padding. Only attention needs rows of equal length: one copy cuts the heads and
  lays them out for it, one copy takes the tokens out again.
- *Labels.* Only what has a label is decoded and read out, and the gradient of the loss takes the place of the
  logits, a chunk at a time.
- *One product* for query, key and value, where their input is the same.
- *Attention by length*: explicit in short rows, torch's fused kernel in long ones.
- *Dropout* from one byte of randomness per number.
- *bfloat16* under `torch.autocast`: activations and products in bfloat16; weights, their gradients, statistics of
  norms and softmax, and the loss in float32.
- *Decoding* writes keys and values into room taken beforehand, and nothing is turned, split or checked twice.

`benchmarks` measures what each of them buys.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention
from transformer_book.layers import DecoderLayer, EncoderLayer, FeedForward, PreNorm, Residual
from transformer_book.positions import RotaryAttention, rotate
from transformer_book.shapes import check_ids, shape_text
from transformer_book.transformer import Embedding, Transformer

#: From this many keys on, torch's fused kernel is faster than explicit attention on a CPU; on a GPU it always is.
FUSED_FROM = 64
#: The same in bfloat16, where the fused kernel's gradient is slow.
FUSED_FROM_IN_BFLOAT16 = 256
#: Logits held at once while the loss is computed: few enough for a CPU's cache.
LOGITS_AT_ONCE = 2**20
#: In bfloat16 the number of packed tokens is rounded up to a multiple of this by a few places of padding: products
#: in bfloat16 are compiled for each new shape on a CPU, which takes longer than the product itself.
ROUND_TO = 64


class FastTransformer(Transformer):
    """A `Transformer` that trains and decodes faster: same configuration, same weights, same numbers.

    A state dict of one fits the other. `FastTransformer.sharing` gives this form of a model that exists, on the
    very same weights. `encode` and `decode` are the readable ones.

    Under ``torch.autocast(device_type, dtype=torch.bfloat16)`` it computes in bfloat16.

    Parameters
    ----------
    config
        Sizes and parts.
    """

    @classmethod
    def sharing(cls, model: Transformer) -> "FastTransformer":
        """Return the fast form of a model, on the same weights: what trains one trains both.

        Raises
        ------
        TypeError
            `model` is no `Transformer`.
        """
        if not isinstance(model, Transformer):
            raise TypeError(f"model: expected a Transformer, got {type(model).__name__}")
        fast = cls.__new__(cls)
        fast.__dict__ = model.__dict__  # all that a module knows: weights, hooks, whether it trains
        return fast

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return logits ``(B, T, V)`` as `Transformer.forward` does, but zeros at padding of ``target (B, T)``.

        Raises
        ------
        TypeError, ValueError
            As `Transformer.forward`; also if a token of the target stands to the right of padding.
        """
        with _precision(self.readout.weight) as dtype:
            rows = self._target_rows(target, target, dtype)
            logits = _linear(self._hidden(source, target, rows, dtype), self.readout)  # (N, V)
        padded = logits.new_zeros(*target.shape, logits.shape[-1])  # (B, T, V)
        return padded.index_put((rows.row, rows.place), logits).masked_fill(~rows.real[..., None], 0.0)

    def loss(self, source: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Average the cross-entropy of each token of the target given those before it: teacher forcing.

        Parameters
        ----------
        source
            Integer ids ``(B, S)``.
        target
            Integer ids ``(B, 1 + T)``: the start token, the tokens to predict, and padding to the right.
        label_smoothing
            ε of `transformer_book.training.masked_cross_entropy`.

        Returns
        -------
        Tensor
            A number, in nats per token: `masked_cross_entropy` of ``target[:, 1:]``.

        Raises
        ------
        TypeError, ValueError
            As `forward`; also if there is no token to predict, or `label_smoothing` is not from 0 to below 1.
        """
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing: expected a probability from 0 to below 1, got {label_smoothing}")
        if target.ndim != 2 or target.shape[1] < 2:
            raise ValueError(f"target: expected shape (B, 1 + T) with T ≥ 1, got {shape_text(target)}")
        inputs, labels = target[:, :-1], target[:, 1:]
        check_ids("target", target, self.config.target_vocab)
        if not (labels != self.pad_id).any():
            raise ValueError("target: expected at least one token, got only padding")
        with _precision(self.readout.weight) as dtype:
            rows = self._target_rows(inputs, labels, dtype)
            hidden = self._hidden(source, inputs, rows, dtype)  # (N, D)
            weight, bias = self.readout.weight.to(dtype), self.readout.bias.to(dtype)
            label = labels[rows.row, rows.place]  # (N,)
            return cast(Tensor, _CrossEntropy.apply(hidden, weight, bias, label, self.pad_id, label_smoothing))

    @torch.no_grad()
    def greedy_decode(self, source: Tensor, max_length: int) -> Tensor:
        """Write what `transformer_book.decoding.greedy_decode` writes.

        Parameters
        ----------
        source
            Integer ids ``(B, S)``.
        max_length
            Most tokens to write, the end token included; ≥ 1.

        Returns
        -------
        Tensor
            Ids ``(B, T)`` with T ≤ `max_length`: without the start token, with the end token, padding after it.

        Raises
        ------
        TypeError, ValueError
            As `encode`; also if `max_length` is out of range.
        """
        if max_length < 1:
            raise ValueError(f"max_length: expected an integer ≥ 1, got {max_length}")
        if self.training and self.config.dropout:
            raise ValueError("greedy_decode: expected evaluation mode, got training: call eval()")
        with _precision(self.readout.weight) as dtype:
            writer = _Writer(self, *self._encode(source, dtype), max_length)
            token = torch.full_like(source[:, 0], self.start_id)  # (B,)
            ended = torch.zeros_like(token, dtype=torch.bool)  # (B,)
            written = []
            while len(written) < max_length and not ended.all():
                token = _argmax(writer.logits(token)).masked_fill(ended, self.pad_id)
                written.append(token)
                ended |= token == self.end_id
        return torch.stack(written, dim=1)  # (B, T)

    def _target_rows(self, target: Tensor, labels: Tensor, dtype: torch.dtype) -> "Rows":
        """Find the tokens that have a label, and check that padding stands to their right."""
        check_ids("target", target, self.config.target_vocab)
        real = labels != self.pad_id  # (B, T)
        if (real[:, 1:] & ~real[:, :-1]).any() or (real & (target == self.pad_id)).any():
            raise ValueError("target: expected all padding to the right, got a token after padding")
        return Rows(real, dtype)

    def _encode(self, source: Tensor, dtype: torch.dtype) -> tuple[Tensor, "Rows"]:
        """Return the encoder's states ``(N, D)``, and where they stand."""
        check_ids("source", source, self.config.source_vocab)
        real = source != self.pad_id  # (B, S)
        if not real.any(dim=-1).all():
            raise ValueError("source: expected at least one token per row, got a row of padding")
        rows = Rows(real, dtype)
        visible = _bias(real, dtype).repeat_interleave(self.config.num_heads, dim=0)[:, None]  # (B·H, 1, S)
        stream = self._embed(self.source_embedding, source, rows, dtype)
        for layer in cast(list[EncoderLayer], self.encoder_layers):
            seen = _enter(layer.attention_residual, stream)
            output = self_attention(layer.attention, seen, rows, visible)
            stream = self._leave(layer.attention_residual, stream, output)
            stream = self._think(layer, stream)
        return _norm(stream, self.encoder_norm), rows

    def _hidden(self, source: Tensor, target: Tensor, rows: "Rows", dtype: torch.dtype) -> Tensor:
        """Return what the readout reads, ``(N, D)``, at the tokens of `target` that `rows` names."""
        if len(target) != len(source):
            raise ValueError(f"target: expected {len(source)} rows, as the source, got {len(target)}")
        memory, memory_rows = self._encode(source, dtype)  # (M, D)
        visible = _bias(memory_rows.real, dtype).repeat_interleave(self.config.num_heads, dim=0)[:, None]
        length = target.shape[1]
        causal = _bias(torch.ones(length, length, dtype=torch.bool, device=target.device).tril(), dtype)  # (T, T)
        stream = self._embed(self.target_embedding, target, rows, dtype)
        for layer in cast(list[DecoderLayer], self.decoder_layers):
            seen = _enter(layer.attention_residual, stream)
            output = self_attention(layer.attention, seen, rows, causal)
            stream = self._leave(layer.attention_residual, stream, output)
            seen = _enter(layer.cross_residual, stream)
            keys_values = _keys_values(layer.cross_attention, memory, memory_rows)
            output = _cross_attention(layer.cross_attention, seen, rows, keys_values, visible)
            stream = self._leave(layer.cross_residual, stream, output)
            stream = self._think(layer, stream)
        return _norm(stream, self.decoder_norm)

    def _embed(self, embedding: Embedding, ids: Tensor, rows: "Rows", dtype: torch.dtype) -> Tensor:
        table = embedding.positions.table
        if ids.shape[1] > len(table):
            raise ValueError(f"ids: expected at most {len(table)} positions, got {ids.shape[1]}")
        vectors = F.embedding(ids[rows.row, rows.place], embedding.tokens.weight)  # (N, D)
        vectors = vectors * math.sqrt(embedding.tokens.embedding_dim) + table[rows.place]
        if self.training and self.config.dropout:
            vectors = vectors * dropout_mask(vectors, self.config.dropout)
        return vectors.to(dtype)

    def _think(self, layer: EncoderLayer | DecoderLayer, stream: Tensor) -> Tensor:
        """Pass the stream through the feed-forward layer."""
        feed_forward = cast(FeedForward, layer.feed_forward)
        hidden = _linear(_enter(layer.feed_forward_residual, stream), feed_forward.hidden).relu_()  # (N, F)
        return self._leave(layer.feed_forward_residual, stream, _linear(hidden, feed_forward.output))

    def _leave(self, residual: Residual, stream: Tensor, output: Tensor) -> Tensor:
        """Add what a sub-layer wrote, ``(N, D)``, with dropout and the norm that follows, if any."""
        if self.training and self.config.dropout:
            mask = dropout_mask(output, self.config.dropout)
            stream = cast(Tensor, _AddProduct.apply(stream, output, mask))
            return stream if isinstance(residual, PreNorm) else _norm(stream, residual.norm)
        return _add(residual, stream, output)


def dropout_mask(like: Tensor, dropout: float) -> Tensor:
    """Draw what dropout multiplies by: 0 with probability `dropout`, and else a constant that keeps the mean.

    One random byte decides over each number, which is dropped if the byte is below 256 · `dropout`. That bound is
    rounded up or down at random, once a call, so that a number is dropped with this probability and not with the
    nearest multiple of 1/256.

    Parameters
    ----------
    like
        Has the shape, dtype and device.
    dropout
        Probability p to be dropped, 0 ≤ p < 1.

    Returns
    -------
    Tensor
        Zeros and 1 / (1 − the rate of this call).

    Notes
    -----
    Source: Srivastava et al. 2014, section 4, scaled in training. An int64 from `random_()` without bounds is
    never negative: its highest byte would be below 128.
    """
    bound = min(int(256 * dropout + torch.rand(()).item()), 255)
    words = torch.empty((like.numel() + 7) // 8, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    bits = words.view(torch.uint8)[: like.numel()].view(like.shape)
    return torch.ge(bits, bound, out=torch.empty_like(like)).mul_(256 / (256 - bound))


class Rows:
    """Where the N real tokens of a padded batch stand, and the copies from packed to padded and back.

    Parameters
    ----------
    real
        Boolean ``(B, T)``.
    dtype
        Of the computation: below float32, some padding is packed with the tokens; see `ROUND_TO`.

    Attributes
    ----------
    row, place
        Integer ``(N,)``: token n stands in row ``row[n]`` of the batch, at position ``place[n]``.
    """

    def __init__(self, real: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.real, packed = real, real.flatten()
        if dtype.itemsize < torch.float32.itemsize:
            padding = (~packed).nonzero()[: -int(packed.sum()) % ROUND_TO, 0]
            packed = packed.index_fill(0, padding, True)
        self.row, self.place = packed.view_as(real).nonzero(as_tuple=True)
        self._copies: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def split(self, packed: Tensor, parts: int, heads: int) -> Tensor:
        """Cut ``(N, parts · H · K)`` into heads and pad: ``(parts, B, H, T, K)``.

        What stands at padding is a copy of some token; attention must give it no weight.
        """
        there, back = self._index(parts, heads)
        vectors = cast(Tensor, _Spread.apply(packed.reshape(len(packed) * parts * heads, -1), there, back))
        return vectors.view(parts, len(self.real), heads, self.real.shape[1], -1)

    def merge(self, padded: Tensor) -> Tensor:
        """Take the real tokens out of ``(B, H, T, K)`` and lay their heads side by side: ``(N, D)``."""
        _, back = self._index(1, padded.shape[1])
        vectors = cast(Tensor, _Pick.apply(padded.reshape(-1, padded.shape[-1]), back))
        return vectors.view(len(self.row), -1)

    def _index(self, parts: int, heads: int) -> tuple[Tensor, Tensor]:
        """Return for each vector of ``(parts, B, H, T)`` its place in ``(N, parts, H)``, and the inverse."""
        if (parts, heads) not in self._copies:
            batch, length = self.real.shape
            token = torch.zeros_like(self.real, dtype=torch.int64)  # (B, T)
            token[self.row, self.place] = torch.arange(len(self.row), device=token.device)
            part, head = torch.arange(parts, device=token.device), torch.arange(heads, device=token.device)
            there = (token[None, :, None, :] * parts + part.view(-1, 1, 1, 1)) * heads + head.view(1, 1, -1, 1)
            back = (part.view(1, -1, 1) * batch + self.row.view(-1, 1, 1)) * heads + head  # (N, parts, H)
            back = back * length + self.place.view(-1, 1, 1)
            self._copies[parts, heads] = there.flatten(), back.flatten()
        return self._copies[parts, heads]


class _Spread(Function):
    """``output[i] = inputs[there[i]]``, with only ``grad[back[i]]`` as gradient: for copies that nobody looks at.

    torch's own indexing must expect gradients from all copies, and adds them up one by one.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return inputs.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


class _Pick(Function):
    """``output[i] = inputs[back[i]]``, each row at most once."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        ctx.shape = inputs.shape
        return inputs.index_select(0, back)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].new_zeros(ctx.shape).index_copy_(0, ctx.saved_tensors[0], grads[0]), None


class _AddProduct(Function):
    """``stream + output · mask`` in one pass, and its gradient in one; the mask needs none."""

    @staticmethod
    def forward(ctx: Any, stream: Tensor, output: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return torch.addcmul(stream, output, mask)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return grads[0], grads[0] * ctx.saved_tensors[0], None


class _CrossEntropy(Function):
    """Mean cross-entropy of ``hidden (N, D)``, read out by ``weight (V, D)`` and ``bias (V,)``, to ``label (N,)``.

    A chunk of logits becomes its own gradient while it is in the cache. Where the label is `pad_id`, nothing is
    counted.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, label: Tensor, pad_id: int, smoothing: float
    ) -> Tensor:
        vocabulary, wide = len(weight), torch.promote_types(hidden.dtype, torch.float32)
        grad = hidden.new_empty(len(label), vocabulary)  # (N, V)
        total = hidden.new_zeros((), dtype=wide)
        step = max(1, LOGITS_AT_ONCE // vocabulary // ROUND_TO) * ROUND_TO
        for start in range(0, len(label), step):
            chunk = slice(start, start + step)
            logs = F.linear(hidden[chunk], weight, bias).to(wide).log_softmax(dim=-1)  # (n, V)
            right = label[chunk, None]  # (n, 1)
            padding = right == pad_id
            losses = -(1 - smoothing) * logs.gather(1, right)  # (n, 1)
            if smoothing:
                losses -= smoothing / vocabulary * logs.sum(dim=1, keepdim=True)
            total += losses.masked_fill(padding, 0.0).sum()
            slope = logs.exp_()  # probabilities, less the answer
            if smoothing:
                slope -= smoothing / vocabulary
            slope.scatter_add_(1, right, slope.new_full(right.shape, smoothing - 1))
            grad[chunk] = slope.index_fill_(0, padding.nonzero()[:, 0], 0.0)
        ctx.save_for_backward(hidden, weight, grad)
        ctx.count = int((label != pad_id).sum())
        return total / ctx.count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        hidden, weight, grad = ctx.saved_tensors
        scale = (grads[0] / ctx.count).to(hidden.dtype)
        return (grad @ weight) * scale, grad.T @ (hidden * scale), grad.sum(dim=0) * scale, None, None, None


@contextmanager
def _precision(weight: Tensor) -> Iterator[torch.dtype]:
    """Give the dtype that autocast asks for, else that of `weight`, and switch it off: casts are written out."""
    kind = weight.device.type
    wanted = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    with torch.autocast(kind, enabled=False):
        yield wanted


def _bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask into what is added to scores: 0 where one may attend, and as good as −∞ elsewhere."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
        ~visible, torch.finfo(dtype).min
    )


def _norm(stream: Tensor, norm: nn.Module) -> Tensor:
    norm = cast(nn.LayerNorm, norm)  # a Transformer has no other
    weight, bias = norm.weight.to(stream.dtype), norm.bias.to(stream.dtype)
    return F.layer_norm(stream, norm.normalized_shape, weight, bias, norm.eps)


def _enter(residual: Residual, stream: Tensor) -> Tensor:
    return _norm(stream, residual.norm) if isinstance(residual, PreNorm) else stream


def _linear(inputs: Tensor, *linears: nn.Linear) -> Tensor:
    """Apply linear layers to one input, ``(N, D)``, in one product; their outputs stand side by side."""
    if len(linears) == 1:
        weight, bias = linears[0].weight, linears[0].bias
    else:
        weight = torch.cat([linear.weight for linear in linears])
        bias = torch.cat([linear.bias for linear in linears])
    return F.linear(inputs, weight.to(inputs.dtype), bias.to(inputs.dtype))


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Compute softmax(QKᵀ/√K + bias) V by the way that is faster at this length.

    Parameters
    ----------
    query
        Shape ``(B, H, T, K)``.
    key, value
        Shape ``(B, H, S, K)``.
    bias
        Added to the scores: ``(T, S)`` or ``(B · H, 1, S)``.

    Returns
    -------
    Tensor
        Shape ``(B, H, T, K)``.
    """
    batch_heads = query.shape[:2]
    longest = FUSED_FROM if query.dtype.itemsize >= 4 else FUSED_FROM_IN_BFLOAT16
    if query.device.type != "cpu" or key.shape[-2] >= longest:
        mask = bias if bias.ndim == 2 else bias.unflatten(0, batch_heads)
        return F.scaled_dot_product_attention(query, key, value, mask)
    query, key, value = (tensor.flatten(0, 1) for tensor in (query, key, value))
    scores = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5)  # (B·H, T, S)
    return torch.bmm(scores.softmax(dim=-1), value).unflatten(0, batch_heads)


def self_attention(attention: MultiHeadAttention, seen: Tensor, rows: Rows, bias: Tensor) -> Tensor:
    """Let the tokens of a row look at each other.

    Parameters
    ----------
    attention
        The readable module, rotary or not.
    seen
        Its inputs at the real tokens, ``(N, D)``.
    rows
        Where these stand.
    bias
        As for `attend`.

    Returns
    -------
    Tensor
        Shape ``(N, D)``.
    """
    packed = _linear(seen, attention.query, attention.key, attention.value)  # (N, 3D)
    query, key, value = rows.split(packed, 3, attention.num_heads).unbind()  # (B, H, T, K) each
    if isinstance(attention, RotaryAttention):
        table = attention.table[: query.shape[-2]].to(query.dtype)  # (T, K)
        query, key = rotate(query, table), rotate(key, table)
    return _linear(rows.merge(attend(query, key, value, bias)), attention.output)


def _keys_values(attention: MultiHeadAttention, memory: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Project the encoder's states, ``(N, D)``: keys and values, ``(B, H, S, K)`` each."""
    key, value = rows.split(_linear(memory, attention.key, attention.value), 2, attention.num_heads).unbind()
    return key, value


def _cross_attention(
    attention: MultiHeadAttention, seen: Tensor, rows: Rows, keys_values: tuple[Tensor, Tensor], bias: Tensor
) -> Tensor:
    """Let the tokens of a row look at the source: ``(N, D)`` → ``(N, D)``."""
    [query] = rows.split(_linear(seen, attention.query), 1, attention.num_heads).unbind()  # (B, H, T, K)
    return _linear(rows.merge(attend(query, *keys_values, bias)), attention.output)


class _Writer:
    """Writes a target token by token.

    Parameters
    ----------
    model
        Whose weights are used.
    memory, rows
        From `_encode`.
    max_length
        Most tokens that will be written.
    """

    def __init__(self, model: FastTransformer, memory: Tensor, rows: Rows, max_length: int) -> None:
        self.length, dtype, heads = 0, memory.dtype, model.config.num_heads
        visible = _bias(rows.real, dtype).repeat_interleave(heads, dim=0)[:, None]  # (B·H, 1, S)
        room = min(max_length, model.config.max_length)
        layers = cast(list[DecoderLayer], model.decoder_layers)
        self.layers = [_LayerWriter(layer, memory, rows, visible, room) for layer in layers]
        self.embedding, self.norm = model.target_embedding, model.decoder_norm
        self.readout = _Ready(dtype, model.readout)

    def logits(self, token: Tensor) -> Tensor:
        """Read one more token of each row, ``(B,)``, and return logits ``(B, V)`` of what follows.

        Raises
        ------
        ValueError
            There is no position for another token.
        """
        tokens, table = self.embedding.tokens, self.embedding.positions.table
        if self.length >= len(table):
            raise ValueError(f"target: expected positions in 0 … {len(table) - 1}, got {self.length}")
        stream = F.embedding(token, tokens.weight) * math.sqrt(tokens.embedding_dim) + table[self.length]  # (B, D)
        stream = stream.to(self.readout.weight.dtype)
        for layer in self.layers:
            stream = layer.write(stream, self.length)
        self.length += 1
        return self.readout(_norm(stream, self.norm))


class _Ready:
    """Linear layers of one input, joined and transposed once, which makes small products faster.

    The first of them is multiplied by `scale`.
    """

    def __init__(self, dtype: torch.dtype, *linears: nn.Linear, scale: float = 1.0) -> None:
        scales = [scale, *[1.0] * (len(linears) - 1)]
        weight = torch.cat([linear.weight * s for linear, s in zip(linears, scales, strict=True)])
        self.weight = weight.to(dtype).T.contiguous()  # (in, out)
        self.bias = torch.cat([linear.bias * s for linear, s in zip(linears, scales, strict=True)]).to(dtype)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map ``(B, in)`` to ``(B, out)``."""
        return torch.addmm(self.bias, inputs, self.weight)


class _LayerWriter:
    """One decoder layer, its weights joined, its cache and the keys and values of the source.

    1/√K is multiplied into the query's weights. Rotary keys are kept turned: a key's angle does not depend on who
    looks at it.
    """

    def __init__(self, layer: DecoderLayer, memory: Tensor, rows: Rows, visible: Tensor, room: int) -> None:
        own, cross, think = layer.attention, layer.cross_attention, cast(FeedForward, layer.feed_forward)
        width, dtype = own.query.in_features, memory.dtype
        self.shape = (len(rows.real), 3, own.num_heads, width // own.num_heads)  # (B, 3, H, K)
        scale = self.shape[-1] ** -0.5
        self.visible, self.residuals = visible, (layer.attention_residual, layer.cross_residual)
        self.think_residual = layer.feed_forward_residual
        self.table = own.table.to(dtype) if isinstance(own, RotaryAttention) else None
        self.project = _Ready(dtype, own.query, own.key, own.value, scale=scale)
        self.output = _Ready(dtype, own.output)
        self.query, self.cross_output = _Ready(dtype, cross.query, scale=scale), _Ready(dtype, cross.output)
        self.hidden, self.thought = _Ready(dtype, think.hidden), _Ready(dtype, think.output)
        key, value = _keys_values(cross, memory, rows)  # (B, H, S, K)
        self.source = key.flatten(0, 1).transpose(1, 2), value.flatten(0, 1)  # (B·H, K, S), (B·H, S, K)
        self.cache = memory.new_empty(2, self.shape[0] * self.shape[2], room, self.shape[3])  # (2, B·H, L, K)

    def write(self, stream: Tensor, at: int) -> Tensor:
        """Pass on the stream ``(B, D)`` of the tokens at position `at`."""
        batch, _, heads, width = self.shape
        first, second = self.residuals
        packed = self.project(_enter(first, stream)).view(self.shape)  # (B, 3, H, K)
        if self.table is not None:
            turned = rotate(packed[:, :2].unsqueeze(-2), self.table[at : at + 1]).squeeze(-2)
            packed = torch.cat([turned, packed[:, 2:]], dim=1)
        kept = self.cache.view(2, batch, heads, -1, width)
        kept[:, :, :, at].copy_(packed[:, 1:].transpose(0, 1))
        query = packed[:, 0].reshape(batch * heads, 1, width)
        keys, values = self.cache[:, :, : at + 1].unbind()  # (B·H, 1 + at, K) each
        weights = torch.bmm(query, keys.transpose(1, 2)).softmax(dim=-1)  # (B·H, 1, 1 + at)
        stream = _add(first, stream, self.output(torch.bmm(weights, values).view(batch, -1)))
        query = self.query(_enter(second, stream)).view(batch * heads, 1, width)
        weights = torch.baddbmm(self.visible, query, self.source[0]).softmax(dim=-1)  # (B·H, 1, S)
        stream = _add(second, stream, self.cross_output(torch.bmm(weights, self.source[1]).view(batch, -1)))
        hidden = self.hidden(_enter(self.think_residual, stream)).relu_()  # (B, F)
        return _add(self.think_residual, stream, self.thought(hidden))


def _argmax(logits: Tensor) -> Tensor:
    """Return the place of the largest in each row; on a CPU NumPy finds it twenty times as fast as torch."""
    if logits.device.type != "cpu":
        return logits.argmax(dim=-1)
    return torch.from_numpy(logits.float().numpy().argmax(axis=-1))


def _add(residual: Residual, stream: Tensor, output: Tensor) -> Tensor:
    """Add what a sub-layer wrote, and normalise if the norm stands there."""
    stream = stream + output
    return stream if isinstance(residual, PreNorm) else _norm(stream, residual.norm)
