"""Reading a chapter, and copying source into it."""

import pytest
from notebooks.chapter import read_chapter, replace_shown_cells
from notebooks.errors import ProblemError


def test_cells_have_their_kind_source_tags_and_line(sample, body_line):
    body = 'Text.\n\n```{code-cell} ipython3\n:tags: [imports, "src:toy.top"]\n\nimport os\n```\n\n\nMore.\n'
    title, code, more = sample.write(body).cells
    assert (title.kind, title.line) == ("markdown", body_line - 2)
    assert (code.kind, code.source, code.line) == ("code", "import os", body_line + 2)
    assert (code.tags, code.shows) == (["imports", "src:toy.top"], "toy.top")
    assert (more.kind, more.source, more.line, more.shows) == ("markdown", "More.", body_line + 9, None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("```{code-cell} ipython3\n:tags: [slow]\n1\n```\n", "tag 'slow': expected one of"),
        ("```{code-cell} ipython3\n:name: x\n1\n```\n", "cell option :name: expected one of"),
        ('```{code-cell} ipython3\n:tags: ["src:a.b", "src:a.c"]\n1\n```\n', "at most one src: tag"),
        ("```{raw-cell}\n1\n```\n", "raw cell: expected only code cells and Markdown"),
    ],
)
def test_cells_outside_the_whitelist_are_refused(sample, body_line, body, message):
    with pytest.raises(ProblemError, match=message) as caught:
        sample.write(body)
    assert (caught.value.path.as_posix(), caught.value.line) == ("chapters/01_sample.md", body_line)


def test_a_page_that_is_no_notebook_is_refused(sample):
    sample.chapter_path.write_text("# Only a page\n")
    with pytest.raises(ProblemError, match=r"chapters/01_sample\.md:1: front matter"):
        read_chapter(sample.chapter_path, sample.book)


def test_replacing_touches_shown_cells_and_nothing_else(sample):
    before = (
        'Text with trailing space \n\n```{code-cell} ipython3\n:tags: ["src:toy.top"]\n\nold\n\nolder\n```\n\n'
        '```{code-cell} ipython3\n---\ntags: ["src:toy.other"]\n---\n```\n\n```{code-cell}\nkept = 1\n```\nEnd'
    )
    after = replace_shown_cells(before, sample.book, lambda name, line: f"# {name}\n# {line}")
    assert after == (
        'Text with trailing space \n\n```{code-cell} ipython3\n:tags: ["src:toy.top"]\n\n# toy.top\n# 3\n```\n\n'
        '```{code-cell} ipython3\n---\ntags: ["src:toy.other"]\n---\n# toy.other\n# 11\n```\n\n'
        "```{code-cell}\nkept = 1\n```\nEnd"
    )
    again = replace_shown_cells(after, sample.book, lambda name, line: f"# {name}\n# {3 if 'top' in name else 11}")
    assert again == after


@pytest.mark.parametrize("body", ["", "\n", "\n\n\n", "\nold\n\n\n", "old\n"])
@pytest.mark.parametrize("options", [":tags: [src:toy.top]\n", "---\ntags: [src:toy.top]\n---\n"])
def test_blank_lines_in_a_shown_cell_do_not_matter(sample, options, body):
    text = replace_shown_cells(
        f"```{{code-cell}} ipython3\n{options}{body}```\n",
        sample.book,
        lambda name, line: "def top():\n\n    pass",
    )
    _, code = sample.write(text).cells
    assert (code.shows, code.source) == ("toy.top", "def top():\n\n    pass")


def test_a_fence_within_the_source_gets_a_longer_one_around_it(sample):
    source = 'def f():\n    """Use it.\n\n    ```\n    f()\n    ```\n    """'
    body = '```{code-cell} ipython3\n:tags: ["src:toy.f"]\n```\n\nAfter.\n'
    text = replace_shown_cells(body, sample.book, lambda name, line: source)
    assert text.startswith("````{code-cell}")
    _, code, after = sample.write(text).cells
    assert (code.source, after.source) == (source, "After.")
