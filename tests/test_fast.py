"""The fast form against the readable one: outputs, losses, gradients, and what is written."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_book import fast
from transformer_book.attention import MultiHeadAttention, scaled_dot_product_attention
from transformer_book.decoding import greedy_decode
from transformer_book.fast import FastTransformer, Rows, dropout_mask
from transformer_book.positions import RotaryAttention
from transformer_book.training import masked_cross_entropy
from transformer_book.transformer import Transformer, TransformerConfig

PAD, START, END = 0, 1, 2
B, S, T = 7, 13, 11
CONFIG = TransformerConfig(
    source_vocab=37,
    target_vocab=41,
    d_model=33,
    num_heads=3,
    d_ff=19,
    num_encoder_layers=2,
    num_decoder_layers=3,
    dropout=0.0,
    max_length=29,
)
CONFIGS = {
    "post-norm": CONFIG,
    "pre-norm": replace(CONFIG, norm_first=True),
    "learned positions": replace(CONFIG, positions="learned"),
    "rotary positions": replace(CONFIG, positions="rotary", d_model=30),
    "rotary positions, pre-norm": replace(CONFIG, positions="rotary", d_model=30, norm_first=True),
    "no positions": replace(CONFIG, positions="none"),
    "shared embeddings": replace(CONFIG, source_vocab=41, shared_embeddings=True),
    "one head, one layer": replace(CONFIG, num_heads=1, num_encoder_layers=1, num_decoder_layers=1),
    "other ids": replace(CONFIG, pad_id=36, start_id=0, end_id=1),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
#: Long rows, and packed counts that are rounded up: the ways that other lengths and bfloat16 take.
WAYS = {
    "short rows": {},
    "fused attention": {"FUSED_FROM": 0},
    "few logits at once": {"LOGITS_AT_ONCE": 1, "ROUND_TO": 5},
}


def make(config: TransformerConfig = CONFIG, dtype: torch.dtype = torch.float64) -> Transformer:
    torch.manual_seed(4)
    model = Transformer(config).to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.normal_()
    return model


def ids(config: TransformerConfig = CONFIG) -> tuple[Tensor, Tensor]:
    """Make padded sources and targets of many lengths, the shortest target only its start."""
    generator = torch.Generator().manual_seed(5)
    source = torch.randint(3, 36, (B, S), generator=generator)
    target = torch.randint(3, 36, (B, T), generator=generator)
    target[:, 0] = config.start_id
    for row in range(B):
        source[row, S - 2 * row :] = config.pad_id if row else source[row, S:]
        target[row, T - row * 10 // 6 :] = config.pad_id if row else target[row, T:]
    source[2, 3] = config.pad_id  # a source may have holes
    return source, target


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("way", WAYS)
@every_config
def test_loss_and_gradients_are_those_of_the_readable_form(
    config: TransformerConfig, way: str, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in WAYS[way].items():
        monkeypatch.setattr(fast, name, value)
    model = make(config)
    source, target = ids(config)
    weights = list(model.parameters())
    expected = masked_cross_entropy(model(source, target[:, :-1]), target[:, 1:], config.pad_id, smoothing)
    slopes = torch.autograd.grad(3 * expected, weights)  # 3: the gradient that arrives is not always 1
    loss = FastTransformer.sharing(model).loss(source, target, smoothing)
    found = torch.autograd.grad(3 * loss, weights)
    torch.testing.assert_close(loss, expected)
    for one, other in zip(found, slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@every_config
def test_float32_is_equal_to_1e_5(config: TransformerConfig) -> None:
    model = make(config, torch.float32)
    source, target = ids(config)
    weights = list(model.parameters())
    expected = masked_cross_entropy(model(source, target[:, :-1]), target[:, 1:], config.pad_id)
    loss = FastTransformer.sharing(model).loss(source, target)
    assert abs(loss.item() - expected.item()) < 1e-5
    pairs = zip(torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True)
    assert max((one - other).abs().max().item() for one, other in pairs) < 1e-5


@pytest.mark.parametrize("way", WAYS)
@every_config
def test_logits_and_their_gradients_are_those_of_the_readable_form(
    config: TransformerConfig, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in WAYS[way].items():
        monkeypatch.setattr(fast, name, value)
    model = make(config)
    source, target = ids(config)
    real = (target != config.pad_id)[..., None]
    expected = model(source, target) * real
    logits = FastTransformer.sharing(model)(source, target)
    torch.testing.assert_close(logits, expected)
    probe = torch.randn_like(expected)
    weights = list(model.parameters())
    found = torch.autograd.grad(logits, weights, probe)
    for one, other in zip(found, torch.autograd.grad(expected, weights, probe), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


def test_a_batch_without_padding_and_a_batch_of_one() -> None:
    model = make()
    source, target = ids()
    for rows in (slice(0, 1), slice(4, 5)):
        expected = model(source[rows], target[rows]) * (target[rows] != PAD)[..., None]
        torch.testing.assert_close(FastTransformer.sharing(model)(source[rows], target[rows]), expected)


@pytest.mark.parametrize("way", ["short rows", "fused attention"])
@every_config
def test_it_writes_what_the_readable_form_writes(
    config: TransformerConfig, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in WAYS[way].items():
        monkeypatch.setattr(fast, name, value)
    model = make(config).eval()
    source, _ = ids(config)
    expected = greedy_decode(model, source, 17)
    assert torch.equal(FastTransformer.sharing(model).greedy_decode(source, 17), expected)


def test_rows_end_each_at_its_time_and_padding_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    def scripted(self: fast._Writer, token: Tensor) -> Tensor:
        self.length += 1
        writes = torch.where(torch.arange(B) < self.length, END, 3 + self.length)  # one more row ends at each step
        return F.one_hot(writes, 41).double()

    monkeypatch.setattr(fast._Writer, "logits", scripted)
    ids_written = FastTransformer.sharing(make()).greedy_decode(ids()[0], 29)
    expected = [[4 + step for step in range(row)] + [END] + [PAD] * (B - 1 - row) for row in range(B)]
    assert ids_written.tolist() == expected


def test_it_stops_as_soon_as_all_rows_have_ended() -> None:
    model = make().eval()
    with torch.no_grad():
        model.readout.bias[END] = 1e4
    assert FastTransformer.sharing(model).greedy_decode(ids()[0], 23).tolist() == [[END]] * B


@every_config
def test_the_cache_taken_beforehand_holds_what_the_readable_cache_holds(config: TransformerConfig) -> None:
    model = make(config).eval()
    source, target = ids(config)
    words = target[:1].repeat(B, 1)
    with torch.no_grad():
        decoded = model.decode(words, model.encode(source))
        quick = FastTransformer.sharing(model)
        writer = fast._Writer(quick, *quick._encode(source, torch.float64), T)
        for step in range(T):
            torch.testing.assert_close(writer.logits(words[:, step]), decoded.logits[:, step])
    for layer, cache in zip(writer.layers, decoded.state, strict=True):
        keys, values = layer.cache.unflatten(1, (B, config.num_heads))
        torch.testing.assert_close(values, cache.own[1])
        if config.positions != "rotary":  # these are kept turned
            torch.testing.assert_close(keys, cache.own[0])
        torch.testing.assert_close(layer.source[1].unflatten(0, (B, -1))[0], cache.source[1][0])


def test_bfloat16_is_near() -> None:
    model = make(dtype=torch.float32)
    quick = FastTransformer.sharing(model)
    source, target = ids()
    weights = list(model.parameters())
    expected = quick.loss(source, target)
    slopes = torch.autograd.grad(expected, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = quick.loss(source, target)
        logits = quick(source, target)
    assert loss.dtype == torch.float32
    assert logits.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    found = torch.autograd.grad(loss, weights)
    assert all(slope.dtype == torch.float32 for slope in found)
    one, other = (torch.cat([slope.flatten() for slope in part]) for part in (found, slopes))
    assert (one - other).norm() < 0.05 * other.norm()


def test_bfloat16_rounds_the_number_of_packed_tokens_up_and_float32_does_not() -> None:
    real = torch.arange(11) < torch.tensor([3, 11, 5, 9, 2, 8, 1, 7, 7, 11])[:, None]
    assert int(real.sum()) == 64
    for count, rounded in ((64, 64), (63, 64), (65, 110), (17, 64)):
        flags = torch.zeros(110, dtype=torch.bool)
        flags[torch.randperm(110, generator=torch.Generator().manual_seed(count))[:count]] = True
        assert len(Rows(flags.view(10, 11), torch.bfloat16).row) == rounded
        assert len(Rows(flags.view(10, 11)).row) == count


def test_under_bfloat16_it_learns_to_copy() -> None:
    torch.manual_seed(0)
    model = FastTransformer(replace(CONFIG, target_vocab=37, d_model=32, num_heads=2, dropout=0.1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        body = torch.randint(3, 8, (16, 5))
        target = torch.cat([torch.full((16, 1), START), body], dim=1)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model.loss(body, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 3
    assert sum(losses[-5:]) / 5 < 1.7  # ln 5 = 1.61 without any look at the source


def test_a_state_dict_goes_both_ways() -> None:
    model, quick = make(), FastTransformer(CONFIG).double()
    quick.load_state_dict(model.state_dict())
    source, target = ids()
    expected = model(source, target) * (target != PAD)[..., None]
    torch.testing.assert_close(quick(source, target), expected)
    Transformer(CONFIG).load_state_dict(quick.state_dict())


def test_shared_weights_are_the_same_weights() -> None:
    model = make()
    quick = FastTransformer.sharing(model)
    source, target = ids()
    torch.optim.SGD(quick.parameters(), lr=0.1).zero_grad()
    quick.loss(source, target).backward()
    torch.optim.SGD(quick.parameters(), lr=0.1).step()
    expected = model(source, target) * (target != PAD)[..., None]
    torch.testing.assert_close(quick(source, target), expected)
    quick.eval()
    assert not model.training


@pytest.mark.parametrize("share", [0.0, 0.003, 0.1, 0.5, 0.9])
def test_dropout_has_its_rate_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(1)
    like = torch.empty(101, 103)
    masks = torch.stack([dropout_mask(like, share) for _ in range(100)])
    spread = 5 * (share * (1 - share) / masks.numel() + 1 / (4 * 256**2 * 100)) ** 0.5  # bytes, and the rounding
    assert abs((masks == 0).double().mean().item() - share) <= spread
    assert abs(masks.double().mean().item() - 1) <= 5 * (share / (1 - share) / masks.numel()) ** 0.5 + 1e-7
    for mask in masks[:10]:
        assert len(mask.unique()) <= 2


def test_every_byte_of_the_randomness_is_even() -> None:
    torch.manual_seed(2)
    zeros = (dropout_mask(torch.empty(4000, 8), 0.25) == 0).double().mean(dim=0)  # one column for each byte
    assert ((zeros - 0.25).abs() < 5 * (0.25 * 0.75 / 4000) ** 0.5).all()


def test_dropout_falls_where_the_paper_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def record(like: Tensor, share: float) -> Tensor:
        shapes.append((tuple(like.shape), share))
        return dropout_mask(like, share)

    monkeypatch.setattr(fast, "dropout_mask", record)
    quick = FastTransformer.sharing(make(replace(CONFIG, dropout=0.2)))
    source, target = ids()
    tokens, labels = int((source != PAD).sum()), int((target[:, 1:] != PAD).sum())
    quick.loss(source, target)
    assert shapes == [((tokens, 33), 0.2)] * (1 + 2 * 2) + [((labels, 33), 0.2)] * (1 + 3 * 3)
    shapes.clear()
    quick.eval().loss(source, target)
    assert shapes == []


def test_the_mean_over_dropout_has_the_readable_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same mask for every number, both forms must agree to the last digit: masks go where they should."""
    monkeypatch.setattr(fast, "dropout_mask", lambda like, share: torch.full_like(like, 1.25))
    monkeypatch.setattr(F, "dropout", lambda inputs, *rest: inputs * 1.25)
    model = make(replace(CONFIG, dropout=0.2, norm_first=True))
    source, target = ids()
    expected = masked_cross_entropy(model(source, target[:, :-1]), target[:, 1:])
    loss = FastTransformer.sharing(model).loss(source, target)
    torch.testing.assert_close(loss, expected)
    weights = list(model.parameters())
    pairs = zip(torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("fused_from", [0, 256])
def test_attention_agrees_with_the_readable_function(fused_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "FUSED_FROM", fused_from)
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 11, 7), torch.randn(2, 3, 11, 7)
    mask = torch.rand(2, 1, 1, 11) > 0.3
    bias = fast._bias(mask, torch.float32).expand(2, 3, 1, 11).reshape(6, 1, 11)
    expected, _ = scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(fast.attend(query, key, value, bias), expected)


@pytest.mark.parametrize("kind", [MultiHeadAttention, RotaryAttention])
def test_self_attention_agrees_with_the_readable_module(kind: type[MultiHeadAttention]) -> None:
    torch.manual_seed(0)
    attention = kind(22, 1, 13) if kind is RotaryAttention else kind(22, 1)
    inputs, real = torch.randn(5, 13, 22), torch.arange(13) < torch.tensor([13, 1, 7, 3, 2])[:, None]
    expected, _ = attention(inputs, inputs, inputs, real[:, None, None])
    output = fast.self_attention(attention, inputs[real], Rows(real), fast._bias(real, torch.float32)[:, None])
    torch.testing.assert_close(output, expected[real])


def test_wrong_use_is_refused() -> None:
    quick = FastTransformer.sharing(make(replace(CONFIG, dropout=0.1)))
    source, target = ids()
    gap = target.clone()
    gap[0, 3] = PAD
    with pytest.raises(
        ValueError, match=r"^target: expected all padding to the right, got a token after padding$"
    ):
        quick.loss(source, gap)
    with pytest.raises(
        ValueError, match=r"^target: expected all padding to the right, got a token after padding$"
    ):
        quick(source, gap)
    with pytest.raises(ValueError, match=r"^target: expected at least one token, got only padding$"):
        quick.loss(source, torch.full_like(target, PAD))
    with pytest.raises(ValueError, match=r"^target: expected shape \(B, 1 \+ T\) with T ≥ 1, got \(7, 1\)$"):
        quick.loss(source, target[:, :1])
    with pytest.raises(ValueError, match=r"^target: expected ids in 0 … 40, got 1 … 41$"):
        quick.loss(source, target.masked_fill(target == PAD, 41))
    with pytest.raises(ValueError, match=r"^target: expected 7 rows, as the source, got 6$"):
        quick.loss(source, target[:6])
    with pytest.raises(ValueError, match=r"^source: expected at least one token per row, got a row of padding$"):
        quick.loss(source * (torch.arange(B) != 3)[:, None], target)
    with pytest.raises(ValueError, match=r"^source: expected ids in 0 … 36"):
        quick.loss(source + 9, target)
    with pytest.raises(ValueError, match=r"^label_smoothing: expected a probability from 0 to below 1, got 1$"):
        quick.loss(source, target, 1)
    with pytest.raises(ValueError, match=r"^ids: expected at most 29 positions, got 30$"):
        quick.loss(torch.full((B, 30), 5), target)
    with pytest.raises(
        ValueError, match=r"^greedy_decode: expected evaluation mode, got training: call eval\(\)$"
    ):
        quick.greedy_decode(source, 5)
    quick.eval()
    with pytest.raises(ValueError, match=r"^max_length: expected an integer ≥ 1, got 0$"):
        quick.greedy_decode(source, 0)
    with torch.no_grad():
        quick.readout.bias[END] = -1e4
    assert quick.greedy_decode(source, 29).shape == (B, 29)
    with pytest.raises(ValueError, match=r"^target: expected positions in 0 … 28, got 29$"):
        quick.greedy_decode(source, 30)
    with pytest.raises(TypeError, match=r"^model: expected a Transformer, got Linear$"):
        FastTransformer.sharing(torch.nn.Linear(2, 2))  # pyright: ignore[reportArgumentType]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_it_gives_the_readable_loss_and_ids() -> None:
    model = make(dtype=torch.float32).cuda()
    quick = FastTransformer.sharing(model)
    source, target = (tensor.cuda() for tensor in ids())
    expected = masked_cross_entropy(model(source, target[:, :-1]), target[:, 1:])
    torch.testing.assert_close(quick.loss(source, target), expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert quick.loss(source, target).item() == pytest.approx(expected.item(), rel=0.01)
    quick.eval()
    assert torch.equal(quick.greedy_decode(source, 9), greedy_decode(model, source, 9))
