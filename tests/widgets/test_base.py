"""The base class: where a widget's module comes from, and that it is an ordinary, stable ipywidget."""

import json

import ipywidgets
import pytest
import torch
import traitlets

from transformer_book.attention import causal_mask
from transformer_book.widgets import (
    Alignment,
    GradientThroughTime,
    Heads,
    MatrixWalk,
    PositionClock,
    SoftLookup,
    Squeeze,
    WhySqrtD,
    Widget,
)
from transformer_book.widgets._base import check_choice, check_integer, read_module


def make_why():
    return WhySqrtD(width=16, num_keys=8)


def make_walk():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 3, generator=generator), torch.randn(5, 3, generator=generator)
    return MatrixWalk(query, key, torch.randn(5, 2, generator=generator), row=1)


def make_squeeze():
    return Squeeze(length=6, width=16)


def make_time():
    return GradientThroughTime(scale=1.5, length=10, cell="gru")


def make_alignment():
    return Alignment("5. mai 2001", row=3)


def make_lookup():
    return SoftLookup((0.5, -1.0), "additive")


def make_heads():
    return Heads(chosen=1)


def make_clock():
    return PositionClock(first=90, second=3, encoding="rotary", draw=2)


@pytest.fixture(
    params=[make_why, make_walk, make_squeeze, make_alignment, make_time, make_lookup, make_heads, make_clock],
    ids=[
        "WhySqrtD",
        "MatrixWalk",
        "Squeeze",
        "Alignment",
        "GradientThroughTime",
        "SoftLookup",
        "Heads",
        "PositionClock",
    ],
)
def make(request):
    return request.param


def test_repr_depends_on_the_state_alone(make):
    widget, twin = make(), make()
    assert repr(widget) == repr(twin) == f"{type(widget).__name__}: {widget.describe()}"
    bundle, _ = widget._repr_mimebundle_()
    assert bundle["text/plain"] == repr(widget)
    assert widget.model_id not in repr(widget)
    assert "0x" not in repr(widget)


def test_alternative_is_synced_and_not_settable(make):
    widget = make()
    assert widget.get_state("alternative") == {"alternative": widget.describe()}
    with pytest.raises(traitlets.TraitError, match="read-only"):
        widget.alternative = "other"


def test_state_is_small_json_and_module_stands_alone(make):
    state = make().get_state()
    assert "export default { render };" in state["_esm"]
    assert "import " not in state["_esm"]
    assert "http://" not in state["_esm"].replace("http://www.w3.org/2000/svg", "")
    assert "url(" not in state["_css"]
    carries_networks = "network" in state or "networks" in state
    assert len(json.dumps(state)) < (250_000 if carries_networks else 60_000)


def test_lives_in_boxes_and_repr_of_the_box_is_stable(make):
    boxes = [ipywidgets.VBox([make(), ipywidgets.HTML("x")]) for _ in range(2)]
    assert repr(boxes[0]) == repr(boxes[1])
    assert isinstance(boxes[0].children[0], Widget)


def test_two_widgets_can_be_linked():
    first, second = make_why(), make_why()
    traitlets.link((first, "width"), (second, "width"))
    first.width = 256
    assert second.width == 256


def test_missing_module_is_named():
    with pytest.raises(FileNotFoundError, match=r"Orphan: expected its ES module at .*test_base\.js"):
        type("Orphan", (Widget,), {"__module__": __name__})


def test_imported_modules_are_put_in_place(tmp_path):
    texts = {
        "a": '// A\nimport { b, c } from "./_b.js";\nexport default b(c);\n',
        "_b": 'import {\n  c,\n} from "./_c.js";\nexport const b = (x) => x;\n',
        "_c": "export const c = 1;\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.js").write_text(text, encoding="utf-8")
    expected = "// A\nexport const c = 1;\nexport const b = (x) => x;\nexport default b(c);\n"
    assert read_module(tmp_path / "a.js") == expected
    (tmp_path / "_c.js").unlink()
    with pytest.raises(FileNotFoundError, match=r"_c\.js"):
        read_module(tmp_path / "a.js")


def test_describe_is_required():
    silent = type("Silent", (Widget,), {"_esm": "export default {};", "__module__": __name__})
    with pytest.raises(NotImplementedError, match="Silent: expected a describe"):
        silent()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (9, ValueError, "n: expected an integer in 1 … 8, got 9"),
        (0, ValueError, "n: expected an integer in 1 … 8, got 0"),
        (1.0, TypeError, "n: expected an integer, got 1.0"),
        (True, TypeError, "n: expected an integer, got True"),
    ],
)
def test_check_integer(value, error, message):
    with pytest.raises(error, match=message):
        check_integer("n", value, 1, 8)


def test_check_choice():
    assert check_choice("c", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="c: expected one of 'a', 'b', got 'd'"):
        check_choice("c", "d", ("a", "b"))


def test_mask_argument_is_a_torch_mask():
    widget = MatrixWalk(torch.eye(3), torch.eye(3), torch.eye(3), causal_mask(3))
    assert widget.mask == [[True, False, False], [True, True, False], [True, True, True]]
