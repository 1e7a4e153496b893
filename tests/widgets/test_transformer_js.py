"""Transformers that run in the page: the same numbers from JavaScript as from the package, whole and broken."""

import base64
import json
import random

import numpy as np
import pytest
import torch

from transformer_book.decoding import beam_search, greedy_decode
from transformer_book.experiments.date_models import new_reader
from transformer_book.positions import sinusoids
from transformer_book.tasks.copying import Copying
from transformer_book.tasks.dates import Dates
from transformer_book.training import evaluate, load_asset
from transformer_book.transformer import Transformer
from transformer_book.widgets import _transformer as engine
from transformer_book.widgets._transformer import Broken

TASK = Dates()
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
ODD = {"d_model": 42, "num_heads": 3, "d_ff": 11, "num_encoder_layers": 2, "num_decoder_layers": 3}
MODELS = [
    {},
    {"norm_first": False},
    {"positions": "learned"},
    {"positions": "rotary"},
    {"positions": "none", "num_encoder_layers": 1, "num_decoder_layers": 1},
]
BROKEN = [
    Broken(),
    Broken(mask=True),
    Broken(scale=True),
    Broken(positions=True),
    Broken(removed=("encoder-1-2", "decoder-1-3", "cross-1-1")),
    Broken(True, True, True, ("cross-1-3",)),
]
TEXTS = ["3 may 2026", "2026年11月23日"]


def make_model(seed=3, scale=1.5, **parts):
    """Make a model whose weights are larger than at first, so that attention and answers are not all alike."""
    model = new_reader(seed, **{**ODD, **parts})
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
        for name, weight in model.named_parameters():
            if name.endswith("bias"):  # zero at first: one left out would not be missed
                weight.normal_(std=0.5, generator=torch.Generator().manual_seed(seed))
    return engine.rounded(model)


@pytest.fixture(scope="module")
def shipped():
    model, task, _ = load_asset("dates_transformer")
    return model, task


def js(what):
    return {"mask": what.mask, "scale": what.scale, "positions": what.positions, "removed": list(what.removed)}


def tensor(part):
    """Make a tensor of nested lists of what JSON makes of typed arrays: an object with a number for each place."""
    if isinstance(part, dict):
        return torch.tensor([*part.values()], dtype=torch.float32)
    return torch.stack([tensor(each) for each in part])


def ids_of(text, task=TASK):
    return task.source_vocabulary.encode(task.parse(text))


@pytest.mark.parametrize("parts", MODELS)
def test_every_number_is_that_of_the_package(run_js, parts):
    model = make_model(**parts)
    packed = json.loads(json.dumps(engine.pack(model, TASK), allow_nan=False))
    target = [1, 5, 3, 9, 4]
    calls = [("forced", [packed, js(what), ids_of(text), target]) for what in BROKEN for text in TEXTS]
    seen = iter(run_js("_transformer", calls))
    for what in BROKEN:
        twin = engine.broken(model, what)
        for text in TEXTS:
            passes = next(seen)
            with torch.no_grad():
                memory = twin.encode(torch.tensor([ids_of(text)]))
                logits, _, own, cross = twin.decode(torch.tensor([target]), memory)
            torch.testing.assert_close(tensor([each["logits"] for each in passes]), logits[0], **CLOSE)
            for t, each in enumerate(passes):
                for layer in range(len(own)):
                    width = len(target) if what.mask else t + 1
                    torch.testing.assert_close(tensor(each["own"][layer]), own[layer][0, :, t, :width], **CLOSE)
                    torch.testing.assert_close(tensor(each["cross"][layer]), cross[layer][0, :, t], **CLOSE)


def test_every_way_to_break_it_changes_the_logits():
    model = make_model(num_encoder_layers=1, num_decoder_layers=2)
    source, target = torch.tensor([ids_of(TEXTS[0])]), torch.tensor([[1, 5, 3, 9, 4]])
    with torch.no_grad():
        logits = [engine.broken(model, what)(source, target) for what in BROKEN]
        assert torch.equal(logits[0], model(source, target))
    for i in range(len(BROKEN)):
        for j in range(i):
            assert not torch.allclose(logits[i], logits[j], atol=1e-2), (BROKEN[i], BROKEN[j])


def test_taking_out_is_what_it_says():
    """Each of the broken models against the formula, with torch alone."""
    model = make_model(num_encoder_layers=1, num_decoder_layers=1)
    x = torch.randn(1, 5, 42, generator=torch.Generator().manual_seed(0))
    attention = engine.broken(model, Broken(scale=True)).encoder_layers[0].attention
    whole = model.encoder_layers[0].attention
    q, k = (
        part.unflatten(-1, (3, 14)).transpose(1, 2)
        for part in (whole.query(x), whole.key(x))  # (B, H, T, K)
    )
    with torch.no_grad():
        torch.testing.assert_close(attention(x, x, x)[1], (q @ k.transpose(-2, -1)).softmax(-1), **CLOSE)
        _, _, own, _ = engine.broken(model, Broken(mask=True)).decode(
            torch.tensor([[1, 5, 3]]), model.encode(torch.tensor([ids_of("x")]))
        )
        assert (own[0][0, :, 0] > 0).all()  # START looks at what comes later
        embedding = engine.broken(model, Broken(positions=True)).source_embedding
        twice = embedding(torch.tensor([[7, 7]]))
        assert torch.equal(twice[0, 0], twice[0, 1])


@pytest.mark.parametrize("what", BROKEN[:4])
@pytest.mark.parametrize("parts", [{}, {"positions": "rotary", "norm_first": False}])
def test_the_beam_is_that_of_the_package(run_js, what, parts):
    model = make_model(**parts)
    packed, twin = engine.pack(model, TASK), engine.broken(model, what)
    settings = [(1, 0.6), (2, 0.0), (3, 0.6), (5, 2.0)]
    calls = [
        ("answerAtOnce", [packed, js(what), ids_of(text), size, 11, penalty])
        for text in TEXTS
        for size, penalty in settings
    ]
    seen = iter(run_js("_transformer", calls))
    for text in TEXTS:
        source = torch.tensor([ids_of(text)])
        for size, penalty in settings:
            answer = next(seen)
            ids, scores = beam_search(twin, source, size, 11, penalty)
            assert answer["ids"] == ids[0].tolist(), (text, size, penalty)
            assert answer["score"] == pytest.approx(float(scores), abs=1e-4)
            if size == 1:
                assert answer["ids"] == greedy_decode(twin, source, 11)[0].tolist()
            assert all(len(level) == size for level in answer["tree"])
            assert answer["tree"][-1][0]["ids"][1 : 1 + len(answer["ids"])] == answer["ids"]


def test_the_tree_is_that_of_beam_steps(run_js):
    """Parents, tokens, totals and scores of each level, from `beam_step` on the model's log-probabilities."""
    from transformer_book.decoding import beam_step, first_beams

    model = make_model()
    source = ids_of(TEXTS[0])
    [answer] = run_js(
        "_transformer", [("answerAtOnce", [engine.pack(model, TASK), js(Broken()), source, 4, 11, 0.6])]
    )
    beams = first_beams(1, 1, 4)
    with torch.no_grad():
        for level in answer["tree"]:
            logits = model(torch.tensor([source] * 4), beams.ids[0])[:, -1]
            beams, scores, parents = beam_step(beams, logits.log_softmax(-1)[None], 2, 0, 0.6)
            assert [each["ids"] for each in level] == beams.ids[0].tolist()
            assert [each["token"] for each in level] == beams.ids[0, :, -1].tolist()
            # which of the four copies of START is continued is all the same
            if len(level[0]["ids"]) > 2:
                assert [each["parent"] for each in level] == parents[0].tolist()
            assert [each["ended"] for each in level] == beams.ended[0].tolist()
            assert [each["total"] for each in level] == pytest.approx(beams.totals[0].tolist(), abs=1e-4)
            assert [each["score"] for each in level] == pytest.approx(scores[0].tolist(), abs=1e-4)


def test_ends_early_and_late_are_among_the_tested():
    """The comparison above sees both ways to stop, and different answers."""
    written = []
    for parts in ({}, {"positions": "rotary", "norm_first": False}):
        for what in BROKEN[:4]:
            twin = engine.broken(make_model(**parts), what)
            for text in TEXTS:
                ids, _ = beam_search(twin, torch.tensor([ids_of(text)]), 2, 11, 0.0)
                written.append(ids[0].tolist())
    assert any(len(ids) == 11 and ids[-1] != 2 for ids in written)
    assert any(len(ids) < 11 and ids[-1] == 2 for ids in written)
    assert len(set(map(tuple, written))) > 8


def test_the_shipped_model_on_real_dates(run_js, shipped):
    """Logits to 1e-3 of the rounded model in float32, and how far rounding moves them; dates read as well."""
    model, task = shipped
    twin = engine.rounded(model)
    examples = task.sample(40, random.Random("page"), "test")
    packed = engine.pack(twin, task)
    calls = []
    for example in examples:
        target = [1, *task.target_vocabulary.encode(example.target)]
        calls.append(("forced", [packed, js(Broken()), task.source_vocabulary.encode(example.source), target]))
    worst = moved = 0.0
    for example, passes in zip(examples, run_js("_transformer", calls), strict=True):
        source = torch.tensor([task.source_vocabulary.encode(example.source)])
        target = torch.tensor([[1, *task.target_vocabulary.encode(example.target)]])
        with torch.no_grad():
            logits, exact = twin(source, target)[0], model(source, target)[0]
        seen = tensor([each["logits"] for each in passes])
        worst = max(worst, float((seen - logits).abs().max()))
        moved = max(moved, float((seen - exact).abs().max()))
    print(f"JavaScript against the rounded model {worst:.1e}; against the stored one {moved:.1e}")
    assert worst < 1e-3
    assert moved < 0.1
    many = task.sample(2000, random.Random("shipped"), "test")
    assert evaluate(twin, task, many) == evaluate(model, task, many)


def test_sinusoids(run_js):
    rows = run_js("_transformer", [("sinusoid", [position, 7]) for position in (0, 1, 13, 63)])
    torch.testing.assert_close(tensor(rows), sinusoids(64, 7)[[0, 1, 13, 63]], rtol=0, atol=1e-6)


def test_packed_is_json_with_the_sizes():
    model = make_model()
    packed = json.loads(json.dumps(engine.pack(model, TASK), allow_nan=False))
    assert packed["config"]["num_decoder_layers"] == 3
    numbers = np.frombuffer(base64.b64decode(packed["data"]), dtype="<f2")
    assert len(numbers) == sum(weight.numel() for weight in model.state_dict().values())


def test_heads_have_names(shipped):
    names = engine.head_names(shipped[0])
    assert len(names) == len(set(names)) == 24
    assert (names[0], names[8], names[-1]) == ("encoder-1-1", "decoder-1-1", "cross-2-4")


def test_models_that_the_page_cannot_run():
    with pytest.raises(TypeError, match="model: expected a Transformer, got Linear"):
        engine.check_model(torch.nn.Linear(2, 2), TASK, 40)
    model = new_reader(0)
    with pytest.raises(ValueError, match=r"model: expected vocabularies of \d+ and \d+, got 161 and 15"):
        engine.check_model(model, Copying(), 40)
    with pytest.raises(ValueError, match="model: expected max_length ≥ 40, got 39"):
        engine.check_model(new_reader(0, max_length=39), TASK, 40)
    with pytest.raises(ValueError, match=r"model: expected at most 300,000 weights, got \d{3},\d{3}"):
        engine.check_model(new_reader(0, d_model=128, d_ff=512), TASK, 40)
    with pytest.raises(ValueError, match="model: expected 0, 1, 2 for padding, start and end, got 0, 3, 2"):
        engine.check_model(new_reader(0, start_id=3), TASK, 40)
    assert isinstance(engine.check_model(model, TASK, 40), Transformer)
