"""Networks that run in the page: packing, rounding, and the same numbers from JavaScript as from the package."""

import base64
import json

import numpy as np
import pytest
import torch

from transformer_book.seq2seq import Seq2Seq, Seq2SeqConfig, hidden
from transformer_book.tasks.copying import Copying
from transformer_book.widgets import _network as network

TASK = Copying(num_symbols=11)
VOCABULARY = len(TASK.source_vocabulary)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def make_model(score="none", seed=0, d_embed=5, d_hidden=7, scale=3.0, **parts):
    """Make a model whose weights are larger than at first, so that gates and weights leave their middle."""
    torch.manual_seed(seed)
    model = Seq2Seq(Seq2SeqConfig(VOCABULARY, VOCABULARY, d_embed, d_hidden, score=score, **parts))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
    return model


def sources(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 14, (count,), generator=generator).tolist()
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("score", ["none", "additive"])
@pytest.mark.parametrize("seed", range(4))
def test_javascript_writes_what_the_package_writes(run_js, score, seed):
    model = network.rounded(make_model(score, seed), TASK)
    packed, given, most = network.pack(model, TASK), sources(6, seed), 9
    for source, seen in zip(given, run_js("_network", [("run", [packed, s, most]) for s in given]), strict=True):
        ids = torch.tensor([source])
        symbols, written = network.run(model, TASK, TASK.source_vocabulary.decode(source), most)
        assert seen["ids"] == written[0].tolist()
        target = torch.cat([torch.tensor([[model.start_id]]), written[:, :-1]], dim=1)
        with torch.no_grad():
            memory = model.encode(ids)
            logits, _, weights = model.decode(target, memory)
        torch.testing.assert_close(torch.tensor(seen["context"]), hidden(memory.state)[0], **CLOSE)
        torch.testing.assert_close(torch.tensor(seen["logits"]), logits[0], **CLOSE)
        if weights is None:
            assert seen["weights"] == [[]] * len(seen["ids"])
        else:
            torch.testing.assert_close(torch.tensor(seen["weights"], dtype=torch.float32), weights[0], **CLOSE)
        assert symbols == TASK.target_vocabulary.decode(seen["ids"])


def test_the_sequences_tested_end_early_and_late(run_js):
    """The comparison above sees both ways to stop."""
    packed = [network.pack(network.rounded(make_model("none", seed), TASK), TASK) for seed in range(4)]
    calls = [("run", [each, source, 9]) for seed, each in enumerate(packed) for source in sources(6, seed)]
    written = [seen["ids"] for seen in run_js("_network", calls)]
    assert any(len(ids) == 9 and ids[-1] != 2 for ids in written)
    assert any(len(ids) < 9 and ids[-1] == 2 for ids in written)


def test_every_float16_is_read_right(run_js):
    bits = np.arange(2**16, dtype=np.uint16)
    finite = bits[np.isfinite(bits.view(np.float16))]
    seen = run_js("_network", [("float16", [int(number)]) for number in finite[::7]])
    assert np.array_equal(np.array(seen), finite[::7].view(np.float16).astype(np.float64))


def test_packed_is_json_and_holds_every_weight_in_two_bytes():
    model = network.rounded(make_model("additive"), TASK)
    packed = json.loads(json.dumps(network.pack(model, TASK), allow_nan=False))
    numbers = np.frombuffer(base64.b64decode(packed["data"]), dtype="<f2")
    names = [name for name, _, _ in packed["tensors"]]
    assert names == list(model.state_dict())
    assert len(numbers) == sum(weight.numel() for weight in model.parameters())
    for name, shape, start in packed["tensors"]:
        part = torch.from_numpy(numbers[start : start + int(np.prod(shape))].astype(np.float32)).view(shape)
        assert torch.equal(part, model.state_dict()[name]), name


def test_rounding_is_to_float16_and_leaves_the_model():
    model = make_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    twin = network.rounded(model, TASK)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])
        assert torch.equal(twin.state_dict()[name], weight.half().float())
    assert any(not torch.equal(weight, before[name]) for name, weight in twin.state_dict().items())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"cell": "lstm"}, "model: expected cell 'gru', got 'lstm'"),
        ({"score": "dot"}, "model: expected score 'none' or 'additive', got 'dot'"),
    ],
)
def test_models_that_the_page_cannot_run(parts, message):
    with pytest.raises(ValueError, match=message):
        network.rounded(make_model(**parts), TASK)


def test_other_vocabulary_and_weights_beyond_float16():
    with pytest.raises(ValueError, match="model: expected vocabularies of 13 and 13, got 14 and 14"):
        network.rounded(make_model(), Copying())
    model = make_model()
    with torch.no_grad():
        model.decoder.readout.bias[2] = 1e5
    with pytest.raises(
        ValueError, match=r"decoder\.readout\.bias: expected finite numbers up to 65504, got 100000"
    ):
        network.rounded(model, TASK)


def test_unknown_symbols_are_marked(run_js):
    symbols = list(TASK.source_vocabulary.symbols)
    assert run_js("_network", [("toIds", [symbols, "07x"])]) == [[3, 10, -1]]
    assert run_js("_network", [("toIds", [["ab", "年"], ["年", "ab", "a"]])]) == [[4, 3, -1]]


def test_special_ids_stand_for_no_symbol(run_js):
    assert run_js("_network", [("toSymbols", [["a", "b", "年"], [0, 5, 1, 3, 2]])]) == [["年", "a"]]
