"""Outputs reduced to what every run repeats."""

import pytest
from nbformat import v4
from notebooks.normalise import WIDGET, UnstableError, normalise


def notebook(*outputs, tags=(), count=7):
    cell = v4.new_code_cell(
        "x", outputs=list(outputs), metadata={"tags": list(tags), "execution": {"iopub": "now"}}
    )
    cell.execution_count = count
    metadata = {"widgets": {"state": {}}, "language_info": {"name": "python", "version": "3.11.7"}}
    return v4.new_notebook(cells=[v4.new_markdown_cell("text"), cell], metadata=metadata)


def stream(text, name="stdout"):
    return v4.new_output("stream", name=name, text=text)


def shown(data, kind="display_data", **rest):
    return v4.new_output(kind, data=data, **rest)


def test_pieces_of_a_stream_become_one():
    [one, figure, two] = (
        normalise(notebook(stream("a\n"), stream("b\n"), shown({"text/plain": "c"}), stream("d\n")))
        .cells[1]
        .outputs
    )
    assert (one.text, figure.data, two.text) == ("a\nb\n", {"text/plain": "c"}, "d\n")


@pytest.mark.parametrize("mime", ["image/png", "image/svg+xml", "image/jpeg", WIDGET])
def test_images_and_widget_views_leave_their_text(mime):
    output = shown({mime: "data", "text/plain": "<Figure size 640x480>"}, metadata={mime: {"width": 3}})
    [left] = normalise(notebook(output)).cells[1].outputs
    assert left.data == {"text/plain": "<Figure size 640x480>"}
    assert left.metadata == {"dropped": [mime]}


def test_timings_counts_and_widget_state_go():
    result = shown({"text/plain": "1"}, "execute_result", execution_count=7)
    normal = normalise(notebook(result))
    assert normal.metadata == {"language_info": {"name": "python"}}
    cell = normal.cells[1]
    assert (cell.execution_count, cell.outputs[0].execution_count) == (1, 1)
    assert cell.metadata == {"tags": []}


def test_ignored_cells_keep_no_output():
    cell = normalise(notebook(stream("3.14159 s, 0x7fa3b2c4\n"), tags=["nbval-ignore-output"])).cells[1]
    assert (cell.outputs, cell.execution_count) == ([], 1)


def test_it_changes_a_copy_and_only_once():
    raw = notebook(stream("a"), stream("b"), shown({"image/png": "x", "text/plain": "y"}))
    once = normalise(raw)
    assert len(raw.cells[1].outputs) == 3
    assert normalise(once) == once


@pytest.mark.parametrize(
    "output", [stream("<object at 0x7f3a2c>\n"), shown({"text/plain": "f at 0x00007F3A2C1D"}, metadata={})]
)
def test_a_memory_address_is_refused(output):
    with pytest.raises(UnstableError, match="cell 1: expected no memory address in the output, got 0x"):
        normalise(notebook(output))


def test_an_address_split_over_two_pieces_is_found():
    with pytest.raises(UnstableError, match="0x7f3a2c1d"):
        normalise(notebook(stream("at 0x7f"), stream("3a2c1d\n")))


def test_short_hexadecimal_numbers_are_data():
    assert normalise(notebook(stream("0xff 0x10000\n"))).cells[1].outputs[0].text == "0xff 0x10000\n"


@pytest.mark.parametrize("tags", [(), ("nbval-ignore-output",)])
def test_a_warning_is_refused(tags):
    with pytest.raises(UnstableError, match=r"expected nothing on stderr, got:\nUserWarning: hm"):
        normalise(notebook(stream("UserWarning: hm\n", "stderr"), tags=tags))
