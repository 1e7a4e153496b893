"""Searches typed into the book: what is no English word, from a file and from a server."""

import pytest

API, GLOSSARY = "book/api.html", "book/glossary.html"
#: Query -> a link that must be among the first results, and one of a page that has nothing of it.
QUERIES = {
    "masked_softmax": (f"{API}#transformer_book.attention.masked_softmax", "book/notation.html"),
    "√d": ("chapters/05_scaled_dot_product.html", "book/benchmarks.html"),
    "sqrt(d)": ("chapters/05_scaled_dot_product.html", "book/benchmarks.html"),
    "LayerNorm": ("chapters/08_transformer.html", "chapters/02_bottleneck.html"),
    "nn.MultiheadAttention": ("chapters/06_multi_head.html", "chapters/02_bottleneck.html"),
    "C5.2": ("book/claims.html", "chapters/01_recurrence.html"),
    "自注意力": (f"{GLOSSARY}#term-self-attention", "book/notation.html"),
    "注意力": (f"{GLOSSARY}#term-attention", "book/benchmarks.html"),
    "掩码": (f"{GLOSSARY}#term-mask", "book/benchmarks.html"),
    "缩放点积": ("book/notes.html", "chapters/01_recurrence.html"),
}


def results(page, query):
    """Type a query into the search page and give the links that it finds, best first."""
    page.locator(".bd-search-container input[type=search]").fill(query)
    page.keyboard.press("Enter")
    page.locator("p.search-summary:not(:empty)").wait_for()
    return page.locator("ul.search a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")


@pytest.mark.parametrize("over", ["file", "http"])
def test_search_finds_formulas_code_claims_and_chinese(visit, server, over):
    page = visit("search", base=server if over == "http" else None).page
    for query, (wanted, unwanted) in QUERIES.items():
        found = results(page, query)
        assert any(link.startswith(wanted) for link in found[:8]), (query, found)
        assert unwanted not in found, (query, found)


def test_search_says_that_there_is_nothing(visit):
    assert results(visit("search").page, "量子力学") == []
