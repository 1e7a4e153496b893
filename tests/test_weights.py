import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer_book.attention import MultiHeadAttention
from transformer_book.recurrent import GRU, LSTM, SimpleRNN
from transformer_book.transformer import Transformer, TransformerConfig
from transformer_book.weights import load_published_g2p, load_torch

D, H = 21, 3
CLASSES = (
    "ours and theirs: expected one of MultiHeadAttention, SimpleRNN, GRU, LSTM, EncoderLayer, DecoderLayer, "
    "Transformer and its torch.nn counterpart, got "
)


def make_theirs(**options: object) -> nn.MultiheadAttention:
    torch.manual_seed(1)
    theirs = nn.MultiheadAttention(D, H, **options)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    return theirs


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_every_weight_lands_in_its_place(batch_first: bool, bias: bool) -> None:
    theirs = make_theirs(batch_first=batch_first, bias=bias)
    ours = MultiHeadAttention(D, H)
    load_torch(ours, theirs)
    for linear, rows in (
        (ours.query, slice(0, D)),
        (ours.key, slice(D, 2 * D)),
        (ours.value, slice(2 * D, 3 * D)),
    ):
        assert torch.equal(linear.weight, theirs.in_proj_weight[rows])
        expected = theirs.in_proj_bias[rows] if bias else torch.zeros(D)
        assert torch.equal(linear.bias, expected)
    assert torch.equal(ours.output.weight, theirs.out_proj.weight)
    assert torch.equal(ours.output.bias, theirs.out_proj.bias if bias else torch.zeros(D))


def test_the_copy_is_a_copy() -> None:
    theirs, ours = make_theirs(), MultiHeadAttention(D, H)
    before = copy_of(theirs)
    load_torch(ours, theirs)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())


def test_ours_keeps_its_precision_and_can_be_trained() -> None:
    theirs, ours = make_theirs(dtype=torch.float64), MultiHeadAttention(D, H)
    load_torch(ours, theirs)
    assert all(tensor.dtype == torch.float32 for tensor in ours.state_dict().values())
    assert torch.equal(ours.output.weight, theirs.out_proj.weight.float())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in ours.parameters())


WRONG_USE: dict[str, tuple[Callable[[], nn.Module], type[Exception], str]] = {
    "another class": (
        lambda: nn.Linear(D, D),
        TypeError,
        CLASSES + "MultiHeadAttention and Linear",
    ),
    "ours for theirs": (
        lambda: MultiHeadAttention(D, H),
        TypeError,
        CLASSES + "MultiHeadAttention and MultiHeadAttention",
    ),
    "other heads": (lambda: nn.MultiheadAttention(D, 7), ValueError, "num_heads: expected 3, got 7"),
    "other width": (
        lambda: nn.MultiheadAttention(2 * D, H),
        ValueError,
        "weight: expected shape (21, 21), got (42, 42)",
    ),
    "other width of keys": (
        lambda: nn.MultiheadAttention(D, H, kdim=5),
        ValueError,
        "weight: expected shape (21, 21), got (21, 5)",
    ),
    "other width of values": (
        lambda: nn.MultiheadAttention(D, H, vdim=8, bias=False),
        ValueError,
        "weight: expected shape (21, 21), got (21, 8)",
    ),
    "an extra key and value": (
        lambda: nn.MultiheadAttention(D, H, add_bias_kv=True),
        ValueError,
        "theirs: expected add_bias_kv=False and add_zero_attn=False, got one of them True",
    ),
    "an extra zero": (
        lambda: nn.MultiheadAttention(D, H, add_zero_attn=True),
        ValueError,
        "theirs: expected add_bias_kv=False and add_zero_attn=False, got one of them True",
    ),
}


@pytest.mark.parametrize(("theirs", "error", "message"), WRONG_USE.values(), ids=WRONG_USE.keys())
def test_an_error_says_why_and_leaves_ours_unchanged(
    theirs: Callable[[], nn.Module], error: type[Exception], message: str
) -> None:
    ours = MultiHeadAttention(D, H)
    before = copy_of(ours)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        load_torch(ours, theirs())
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


def test_ours_must_be_ours() -> None:
    with pytest.raises(TypeError, match="got Linear and MultiheadAttention"):
        load_torch(nn.Linear(D, D), make_theirs())


# --- recurrent layers ----------------------------------------------------------------------------------------

RECURRENT = {SimpleRNN: nn.RNN, GRU: nn.GRU, LSTM: nn.LSTM}
every_layer = pytest.mark.parametrize("ours", RECURRENT)


@every_layer
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_recurrent_layer_computes_the_same_after_loading(ours: type, bias: bool, batch_first: bool) -> None:
    mine, theirs = ours(5, 7).double(), RECURRENT[ours](5, 7, bias=bias, batch_first=batch_first).double()
    load_torch(mine, theirs)
    inputs = torch.randn(3, 11, 5, dtype=torch.float64)
    expected = theirs(inputs)[0] if batch_first else theirs(inputs.transpose(0, 1))[0].transpose(0, 1)
    torch.testing.assert_close(mine(inputs)[0], expected, rtol=1e-12, atol=1e-12)
    for name, tensor in mine.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict().get(name, torch.zeros_like(tensor)))


@every_layer
def test_a_recurrent_layer_gets_a_copy_in_its_own_precision_and_can_be_trained(ours: type) -> None:
    mine, theirs = ours(5, 7), RECURRENT[ours](5, 7, dtype=torch.float64)
    before = copy_of(theirs)
    load_torch(mine, theirs)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in mine.parameters())
    for name, tensor in mine.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name].float())
        tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())


def test_a_layer_made_from_ours_is_ours() -> None:
    class Mine(GRU):
        pass

    mine, theirs = Mine(5, 7), nn.GRU(5, 7)
    load_torch(mine, theirs)
    assert torch.equal(mine.weight_hh_l0, theirs.weight_hh_l0)


WRONG_RECURRENT: dict[str, tuple[nn.Module, nn.Module, type[Exception], str]] = {
    "two layers": (GRU(5, 7), nn.GRU(5, 7, num_layers=2), ValueError, "num_layers: expected 1, got 2"),
    "two directions": (
        GRU(5, 7),
        nn.GRU(5, 7, bidirectional=True),
        ValueError,
        "bidirectional: expected False, got True",
    ),
    "relu": (
        SimpleRNN(5, 7),
        nn.RNN(5, 7, nonlinearity="relu"),
        ValueError,
        "nonlinearity: expected 'tanh', got 'relu'",
    ),
    "a projection": (LSTM(5, 7), nn.LSTM(5, 7, proj_size=3), ValueError, "proj_size: expected 0, got 3"),
    "other input": (GRU(5, 7), nn.GRU(3, 7), ValueError, "input_size: expected 5, got 3"),
    "other width": (LSTM(5, 7), nn.LSTM(5, 3), ValueError, "hidden_size: expected 7, got 3"),
    "another cell": (GRU(5, 7), nn.LSTM(5, 7), TypeError, CLASSES + "GRU and LSTM"),
    "the plain cell": (SimpleRNN(5, 7), nn.GRU(5, 7), TypeError, CLASSES + "SimpleRNN and GRU"),
    "one step of a cell": (GRU(5, 7), nn.GRUCell(5, 7), TypeError, CLASSES + "GRU and GRUCell"),
    "ours for theirs": (GRU(5, 7), GRU(5, 7), TypeError, CLASSES + "GRU and GRU"),
    "attention": (GRU(5, 7), nn.MultiheadAttention(6, 2), TypeError, CLASSES + "GRU and MultiheadAttention"),
}


@pytest.mark.parametrize(
    ("ours", "theirs", "error", "message"), WRONG_RECURRENT.values(), ids=WRONG_RECURRENT.keys()
)
def test_another_recurrent_layer_is_refused_and_ours_unchanged(
    ours: nn.Module, theirs: nn.Module, error: type[Exception], message: str
) -> None:
    before = copy_of(ours)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        load_torch(ours, theirs)
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


# --- the Transformer ------------------------------------------------------------------------------------------

CONFIG = TransformerConfig(5, 7, d_model=6, num_heads=2, d_ff=11, num_encoder_layers=2, num_decoder_layers=1)


def torch_transformer(**options: object) -> nn.Transformer:
    sizes = {"num_encoder_layers": 2, "num_decoder_layers": 1, "dim_feedforward": 11, "batch_first": True}
    return nn.Transformer(6, 2, **{**sizes, **options})


def without_norm() -> nn.Transformer:
    theirs = torch_transformer()
    theirs.decoder.norm = None
    return theirs


WRONG_TRANSFORMER: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "another order": (lambda: torch_transformer(norm_first=True), "norm_first: expected False, got True"),
    "another depth": (
        lambda: torch_transformer(num_decoder_layers=2),
        "num_decoder_layers: expected 1, got 2",
    ),
    "another encoder": (
        lambda: torch_transformer(num_encoder_layers=1),
        "num_encoder_layers: expected 2, got 1",
    ),
    "other heads": (lambda: nn.Transformer(6, 3, 2, 1, 11, batch_first=True), "num_heads: expected 2, got 3"),
    "another hidden width": (
        lambda: torch_transformer(dim_feedforward=13),
        "weight: expected shape (11, 6), got (13, 6)",
    ),
    "another ε": (lambda: torch_transformer(layer_norm_eps=1e-6), "layer_norm_eps: expected 1e-05, got 1e-06"),
    "no final norm": (without_norm, "decoder: expected a final layer norm, got none"),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")  # torch's remark on its own fast path
@pytest.mark.parametrize(("theirs", "message"), WRONG_TRANSFORMER.values(), ids=WRONG_TRANSFORMER.keys())
def test_another_transformer_is_refused_and_ours_unchanged(theirs: Callable[[], nn.Module], message: str) -> None:
    ours = Transformer(CONFIG)
    before = copy_of(ours)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_torch(ours, theirs())
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("activation", ["gelu", F.gelu, torch.tanh])
def test_another_activation_is_refused(activation: object) -> None:
    ours = Transformer(CONFIG).encoder_layers[0]
    with pytest.raises(ValueError, match=r"^activation: expected relu, got "):
        load_torch(ours, nn.TransformerEncoderLayer(6, 2, 11, activation=activation))


@pytest.mark.parametrize("activation", ["relu", F.relu, torch.relu, nn.ReLU()])
def test_relu_is_known_under_all_its_names(activation: object) -> None:
    ours = Transformer(CONFIG).encoder_layers[0]
    theirs = nn.TransformerEncoderLayer(6, 2, 11, activation=activation, bias=False)
    load_torch(ours, theirs)
    assert torch.equal(ours.feed_forward.output.weight, theirs.linear2.weight)
    assert (ours.feed_forward.output.bias == 0).all()
    assert (ours.attention_residual.norm.bias == 0).all()


def test_embeddings_and_readout_of_ours_stay() -> None:
    ours = Transformer(CONFIG)
    before = copy_of(ours)
    load_torch(ours, torch_transformer())
    kept = {name for name, tensor in ours.state_dict().items() if torch.equal(tensor, before[name])}
    names = {"source_embedding.tokens.weight", "target_embedding.tokens.weight", "readout.weight", "readout.bias"}
    assert names <= kept
    assert not any("attention.query.weight" in name for name in kept)


# --- the published pronouncer --------------------------------------------------------------------------------


def published(seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"enc_emb": (29, 256), "dec_emb": (74, 256), "fc_w": (74, 256), "fc_b": (74,)}
    for side in ("enc", "dec"):
        shapes |= {
            f"{side}_w_ih": (768, 256),
            f"{side}_w_hh": (768, 256),
            f"{side}_b_ih": (768,),
            f"{side}_b_hh": (768,),
        }
    return {name: (0.1 * torch.randn(shape, generator=generator)).numpy() for name, shape in shapes.items()}


def test_the_published_model_is_its_plain_architecture() -> None:
    arrays = published()
    model = load_published_g2p(arrays)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    layers = {}
    for side in ("enc", "dec"):
        layers[side] = nn.GRU(256, 256, batch_first=True)
        names = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
        layers[side].load_state_dict({ours: tensors[f"{side}_{theirs}"] for ours, theirs in names.items()})
    source, target = torch.randint(3, 29, (3, 7)), torch.randint(4, 74, (3, 5))
    _, state = layers["enc"](tensors["enc_emb"][source])
    outputs, _ = layers["dec"](tensors["dec_emb"][target], state)  # its input is the embedding alone
    expected = outputs @ tensors["fc_w"].T + tensors["fc_b"]
    torch.testing.assert_close(model(source, target), expected, rtol=1e-4, atol=1e-5)
    assert (model.start_id, model.end_id) == (2, 3)
    assert not model.training


def test_the_published_weights_are_copied() -> None:
    arrays = published()
    before = {name: array.copy() for name, array in arrays.items()}
    model = load_published_g2p(arrays)
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.requires_grad
            parameter.zero_()
    assert all((arrays[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("name", published())
def test_a_missing_or_other_array_is_named(name: str) -> None:
    arrays = published()
    shape = arrays[name].shape
    for other in (arrays[name][..., :5], arrays[name][:5], arrays[name][None], arrays[name].ravel()[:1]):
        message = f"{name}: expected an array {shape}, got {other.shape}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            load_published_g2p(arrays | {name: other})
    del arrays[name]
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name}: expected an array {shape}, got none')}$"):
        load_published_g2p(arrays)
