"""The package's source, as it is shown."""

import pytest
from notebooks.source_cells import code_lines, find_source, shown_problems


def cell(name: str, source: str = "") -> str:
    return f'```{{code-cell}} ipython3\n:tags: ["src:{name}"]\n\n{source}\n```\n'


@pytest.mark.parametrize(
    ("name", "first", "last", "line", "kind"),
    [
        ("toy.top", "def top():", "    return 0", 1, "function"),
        ("toy.things.halve", "@functools.cache", "    return number / 2", 6, "function"),
        ("toy.things.Outer", "class Outer:", "        return helper", 12, "class"),
        ("toy.things.Outer.size", "@property", "    return self.limit", 17, "function"),
        ("toy.things.Outer.Inner", "class Inner:", '        return "inner"', 21, "class"),
        ("toy.things.Outer.Inner.method", "def method(self):", '    return "inner"', 22, "function"),
        ("toy.things.Outer.make.helper", "def helper():", "    return 1", 26, "function"),
    ],
)
def test_finds_every_kind_of_name(sample, name, first, last, line, kind):
    shown = find_source(name, sample.book)
    lines = shown.source.split("\n")
    assert (lines[0], lines[-1], shown.line, shown.kind) == (first, last, line, kind)


def test_source_is_verbatim(sample):
    assert find_source("toy.things.halve", sample.book).source in sample.module_path.read_text()


def test_definitions_under_if_are_found_and_nested_ones_are_not(sample):
    sample.module_path.write_text("if True:\n    def f():\n        def g(): ...\n")
    assert find_source("toy.things.f", sample.book).source == "def f():\n    def g(): ..."
    with pytest.raises(LookupError, match="found none"):
        find_source("toy.things.g", sample.book)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toy.things.Gone", "expected one 'Gone' in src/toy/things.py, found none"),
        ("toy.things.Outer.gone", "expected one 'gone'"),
        ("nowhere.f", "expected a module of src/"),
    ],
)
def test_unknown_names_say_where_they_were_looked_for(sample, name, message):
    with pytest.raises(LookupError, match=message):
        find_source(name, sample.book)


def test_a_name_defined_twice_is_refused(sample):
    sample.module_path.write_text("def f(): ...\n\n\ndef f(): ...\n")
    with pytest.raises(LookupError, match=r"found 2, at lines \[1, 4\]"):
        find_source("toy.things.f", sample.book)


def test_docstrings_and_blank_lines_are_no_code():
    source = '''\
class A:
    """One

    two."""

    def f(self):
        """Three."""
        # why
        return 1
'''
    assert code_lines(source) == 4


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("def f():\n" + "    x = 1\n" * 24, True),
        ("def f():\n" + "    x = 1\n" * 25, False),
        ("class f:\n" + "    x = 1\n" * 44, True),
        ("class f:\n" + "    x = 1\n" * 45, False),
    ],
)
def test_size_limits(sample, source, allowed):
    sample.module_path.write_text(source)
    chapter = sample.write(cell("toy.things.f", find_source("toy.things.f", sample.book).source))
    problems = shown_problems([chapter], sample.book)
    assert (problems == []) == allowed
    if not allowed:
        assert "src/toy/things.py:1: toy.things.f: expected a shown" in str(problems[0])


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("toy.top", "toy.top", True),
        ("toy.things.Outer", "toy.things.Outer.make", True),
        ("toy.things.Outer.make", "toy.things.Outer", True),
        ("toy.things.Outer.size", "toy.things.Outer.make", False),
    ],
)
def test_an_object_is_shown_once(sample, first, second, clash):
    chapters = [
        sample.write(cell(name, find_source(name, sample.book).source), file)
        for name, file in ((first, "01_a"), (second, "02_b"))
    ]
    problems = [str(problem) for problem in shown_problems(chapters, sample.book)]
    assert bool(problems) == clash
    if clash:
        assert problems[0].startswith("chapters/02_b.md:")
        assert "chapters/01_a.md:" in problems[0]
