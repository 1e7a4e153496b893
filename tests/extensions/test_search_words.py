"""Words of a text, as the build finds them, and words of a query, as the page does."""

import json
import subprocess

import pytest


@pytest.fixture(scope="module")
def search(extension):
    return extension("search_words").BookSearch({})


@pytest.fixture(scope="module")
def ask(extension, search):
    """Return a function that cuts queries as the page's script does."""
    node = extension("offline_maths").node_binary()

    def run(*queries):
        script = f"{search.js_splitter_code}\nconsole.log(JSON.stringify({json.dumps(queries)}.map(splitQuery)))"
        done = subprocess.run([node, "-e", script], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("divided by √d, ", {"divided", "by", "√d", "d"}),
        (r"$\sqrt{d_k}$", {"sqrt", "d_k", "√d"}),
        (r"\frac{q}{\sqrt D}", {"√D", "sqrt", "D"}),
        ("scores / math.sqrt(head_width)", {"√h", "math", "sqrt", "head_width"}),
        ("C5.2 holds", {"C5.2", "C5", "2", "holds"}),
        ("步长 λ", {"步", "长", "步长", "λ", "lambda"}),
        ("自注意力", {"自", "注", "意", "力", "自注", "注意", "意力"}),
        ("nn.LayerNorm(8)", {"nn", "LayerNorm", "8"}),
    ],
)
def test_words_of_a_text(search, text, words):
    assert words <= set(search.split(text))


def test_words_of_a_query(ask):
    assert ask("√d", "sqrt(d_k)", r"\sqrt{d}", "√dₖ", "C5.2", "λ", "masked_softmax") == [
        *[["√d"]] * 4,
        ["C5.2"],
        ["lambda"],
        ["masked_softmax"],
    ]
    assert ask("自注意力", "批", "注意力 mask") == [["自注", "注意", "意力"], ["批"], ["注意", "意力", "mask"]]
    assert ask("nn.LayerNorm", "torch.nn.functional", "nn", "T5 model") == [
        ["LayerNorm"],
        ["torch", "functional"],
        ["nn"],
        ["T5", "model"],
    ]


@pytest.mark.parametrize(
    "text",
    ["√d", r"\sqrt{d_k}", "C5.2", "自注意力", "多头", "masked_softmax", "nn.LayerNorm", "σ", "softmax(QKᵀ/√d) V"],
)
def test_a_text_is_found_by_itself(search, ask, text):
    (query,) = ask(text)
    assert query
    assert {word.lower() for word in query} <= {word.lower() for word in search.split(text)}


def test_glossary_is_found_by_its_chinese_terms_also_after_a_second_build(make_book):
    book = make_book()
    entry = "attention\n  **注意力** · A soft lookup.\n\n"
    book.write("book/glossary.md", f"# Glossary\n\n:::{{glossary}}\n{entry}:::\n")
    book.write_toc("book/glossary")
    for _ in range(2):  # the second one writes the front page alone
        assert book.build("-W", "-n").returncode == 0
        index = (book.root / "_build/html/searchindex.js").read_text(encoding="utf-8")
        entries = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))["indexentries"]
        assert entries["注意力"] == entries["attention"] == [[0, "term-attention", True]]
        book.write("book/intro.md", "# A small book\n\nMore.\n")
