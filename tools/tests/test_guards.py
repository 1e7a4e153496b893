"""Every guard on chapters passes what is right and catches what is wrong."""

import pytest
from nbformat import v4
from notebooks.derive import derive
from notebooks.guards import (
    cell_problems,
    figure_problems,
    ignored_problems,
    length_problems,
    plot_lines,
    uncompared,
    why_not_compared,
    word_count,
)

OUTPUTS = {
    "printed": v4.new_output("stream", text="3 of 4\n"),
    "tensor": v4.new_output("execute_result", data={"text/plain": "tensor([1, 2])"}),
    "figure": v4.new_output("display_data", data={"text/plain": "drawn"}, metadata={"dropped": ["image/png"]}),
    "widget": v4.new_output("display_data", data={"text/plain": "dial"}, metadata={"dropped": ["application/x"]}),
    "object": v4.new_output("execute_result", data={"text/plain": "<generator object>"}),
    "repr": v4.new_output("execute_result", data={"text/plain": "Linear(in_features=3)"}),
    "blank": v4.new_output("stream", text=" \n"),
}  # fmt: skip


def code(source="x = 1", options=""):
    return f"```{{code-cell}} ipython3\n{options}{source}\n```\n\n"


def executed(sample, body, *outputs):
    """Derive a chapter and put outputs, by name, into its code cells after the install cell."""
    chapter = sample.write(body)
    notebook = derive(chapter, sample.book).notebook
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"][1:]
    for cell, names in zip(cells, outputs, strict=True):
        cell.outputs = [OUTPUTS[name] for name in names.split()]
    return chapter, notebook


@pytest.mark.parametrize(
    ("outputs", "counts"),
    [
        ("printed", True), ("tensor", True), ("figure printed", True), ("repr tensor", True),
        ("", False), ("figure", False), ("widget", False), ("object", False), ("repr", False), ("blank", False),
    ],
)  # fmt: skip
def test_what_counts_as_compared(sample, outputs, counts):
    _, notebook = executed(sample, code() + code(), outputs, "printed")
    assert uncompared(notebook) == ((1.0, []) if counts else (0.5, [2]))


@pytest.mark.parametrize(
    ("tags", "outputs", "why"),
    [
        ("", "printed", ""), ("exercise", "printed", ""), ("imports", "printed", ""),
        ("imports", "", "imports"), ('"src:toy.top"', "", "shown source"),
        ("nbval-ignore-output", "", "timings"), ("nbval-ignore-output", "printed", "timings"),
        ("", "figure", "a figure or widget only"), ("", "repr", "a figure or widget only"),
        ("", "", "nothing printed"),
    ],
)  # fmt: skip
def test_why_a_cell_is_not_compared(sample, tags, outputs, why):
    _, notebook = executed(sample, code(options=f":tags: [{tags}]\n"), outputs)
    assert why_not_compared(notebook.cells[-1]) == why
    assert why_not_compared(notebook.cells[1]) == "imports"  # the install cell, not executed here


def test_source_install_and_import_cells_do_not_count(sample):
    tags = [":tags: [imports]\n", ':tags: ["src:toy.top"]\n', ":tags: [nbval-ignore-output]\n"]
    _, notebook = executed(sample, "".join(code(options=tag) for tag in tags), "", "", "")
    assert uncompared(notebook) == (0.0, [4])
    _, empty = executed(sample, code(options=tags[0]), "")
    assert uncompared(empty) == (1.0, [])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["x = 1\n" * 25] + ["x = 1"] * 2, None),
        (["x = 1\n" * 26] + ["x = 1"] * 2, "expected at most 25 lines, got 26"),
        (["class A:\n" + "    x = 1\n" * 44] + ["x = 1"] * 2, None),
        (["class A:\n" + "    x = 1\n" * 45] + ["x = 1"] * 2, "expected at most 45 lines, got 46"),
        (["class A:\n" + "    x = 1\n" * 30 + "y = 2"] + ["x = 1"] * 2, "expected at most 25 lines"),
        (["x = 1\n" * 8], None),
        (["x = 1\n" * 9], "expected a median of at most 8 lines, got 9"),
        (["plt.plot(x)\n" * 10] + ["x = 1"] * 2, None),
        (["plt.plot(x)\n" * 11] + ["x = 1"] * 2, "drawing code: expected at most 10 lines in a chapter, got 11"),
        (["print('it holds')"], "expected it to compute what it prints"),
        (["print(f'{2 + 2} words')\n'more'"], "expected it to compute"),
        (["print(len(x))"], None),
        (["assert True\nprint('so')"], None),
    ],
)
def test_cells_are_held_to_their_size_and_purpose(sample, cells, message):
    problems = [str(problem) for problem in cell_problems(sample.write("".join(map(code, cells))))]
    assert [message in problem for problem in problems] == ([] if message is None else [True])


def test_drawing_lines_are_those_of_statements_that_draw():
    source = "for x in y:\n    ax.plot(\n        x,\n    )\n    z = x\nfig, ax = plt.subplots()\nplot(stored)\n"
    assert plot_lines(source) == 4


DRAWS = "---\nmystnb:\n  image:\n    alt: A line.\n  figure:\n    caption: A line.\n---\n"


@pytest.mark.parametrize(
    ("options", "outputs", "messages"),
    [
        (DRAWS, ("figure printed", ""), []),
        (DRAWS, ("figure", "printed"), []),
        (DRAWS, ("figure", "figure"), ["to be printed", "image.alt", "figure.caption", "to be printed"]),
        (DRAWS.replace("alt: A line.", "alt: ' '"), ("figure printed", ""), ["mystnb.image.alt"]),
        (DRAWS.replace("caption: A line.", "name: line"), ("figure printed", ""), ["mystnb.figure.caption"]),
        ("", ("figure printed", ""), ["mystnb.image.alt", "mystnb.figure.caption"]),
        ("", ("widget printed", ""), []),
    ],
)
def test_figures_need_alt_caption_and_numbers(sample, body_line, options, outputs, messages):
    chapter, notebook = executed(sample, code(options=options) + code(), *outputs)
    problems = figure_problems(chapter, notebook)
    assert len(problems) == len(messages)
    assert all(part in problem.message for part, problem in zip(messages, problems, strict=True))
    assert all(problem.line == body_line for problem in problems[:1])


def test_numbers_may_stand_before_the_figure(sample):
    assert figure_problems(*executed(sample, code() + code(options=DRAWS), "printed", "figure")) == []


@pytest.mark.parametrize(("outputs", "right"), [(("", "printed"), True), (("", "figure"), False), (("",), False)])
def test_an_ignored_cell_is_followed_by_a_compared_one(sample, outputs, right):
    body = code(options=":tags: [nbval-ignore-output]\n") + code() * (len(outputs) - 1)
    assert (ignored_problems(*executed(sample, body, *outputs)) == []) == right


def test_words_are_those_of_prose(sample):
    chapter = sample.write(
        "Two *words* — $x + y$ `not these`.\n\n:::{note}\nThree more words\n:::\n\n"
        ":::{dropdown} Solution\nfolded away\n:::\n\n"
        "```{math}\na = b\n```\n\n| a | b |\n|---|---|\n| c | d |\n\n" + code()
    )
    assert word_count(chapter, sample.book) == 2 + 2 + 3 + 4


@pytest.mark.parametrize(("words", "right"), [(1998, True), (1997, False), (3498, True), (3499, False)])
def test_a_chapter_has_its_length(sample, words, right):
    assert (length_problems(sample.write("word " * words), sample.book) == []) == right


def test_a_cell_with_figure_options_that_draws_nothing(sample):
    problems = figure_problems(*executed(sample, code(options=DRAWS), "printed"))
    assert [problem.message for problem in problems] == ["mystnb: expected a figure, the cell drew none"]
