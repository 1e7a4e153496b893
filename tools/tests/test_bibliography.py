"""Citations in author-year form."""

from notebooks.bibliography import read_bibliography


def test_works_by_number_of_authors_and_kind_of_address(sample):
    works = read_bibliography(sample.book.bibliography)
    assert works["one"].parenthetical == "[Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)"
    assert works["two"].textual == "[Müller and van der Waals (1881)](https://example.org/gas)"
    assert works["three"].textual == "Knuth (1968)"
    assert works["one"].full == (
        "Vaswani, A., Shazeer, N. & Parmar, N. (2017). *Attention Is All You Need*. NeurIPS."
        " <https://arxiv.org/abs/1706.03762>"
    )
    assert works["three"].full == "Knuth, D. (1968). *Programs*. Press."


def test_a_doi_is_an_address_and_a_work_without_author_or_year_has_its_title(tmp_path):
    path = tmp_path / "x.bib"
    path.write_text('@misc{a, title = {Notes on {\\"O}l}, doi = {10.1/2}}')
    assert read_bibliography(path)["a"].textual == "[Notes on Öl (n.d.)](https://doi.org/10.1/2)"


def test_no_file_holds_no_works(tmp_path):
    assert read_bibliography(tmp_path / "none.bib") == {}
