"""The PDF as Chromium prints it, and a check that can fail."""

from io import BytesIO

import pikepdf
import pytest
from PIL import Image
from takeaway import pdf, pdf_check
from takeaway.browser import Camera, open_file
from takeaway.errors import TakeawayError
from takeaway.volume import find

OUTLINE = [
    (1, "Contents"),
    (1, "A small book"),
    (1, "Part I"),
    (2, "1 · First things"),
    (3, "Drawn"),
    (2, "2 · Second thoughts"),
    (3, "Deep"),
    (1, "Solutions"),
    (2, "1 · First things"),
    (3, "Exercise 1 · add"),
]
EXPECTED = {"title": "A small book", "language": "en", "outline": OUTLINE, "shown": "自注意力 x"}


@pytest.fixture(scope="module")
def printed(browser, tmp_path_factory):
    """Give the small book's PDF, printed once, and what it was printed from."""
    folder = tmp_path_factory.mktemp("pdf")
    return folder / "small.pdf"


@pytest.fixture
def book(printed, browser, read):
    if not printed.exists():
        pdf.make(browser, read(), printed)
    return printed


def tampered(book, tmp_path, change):
    path = tmp_path / "tampered.pdf"
    with pikepdf.open(book) as opened:
        change(opened)
        opened.save(path)
    return pdf_check.problems(path, **EXPECTED)


def test_it_has_all_it_must_have(book):
    assert pdf_check.problems(book, **EXPECTED) == []


def test_numbers_in_the_contents_are_those_of_the_pages(book):
    soup = book.with_suffix(".html").read_text(encoding="utf-8")
    pages = pdf.target_pages(book)
    assert pages["book-intro"] == 3
    assert pages["chapters-02_second.deep"] == pages["chapters-02_second"] == pages["solutions"] - 1
    for target in ("chapters-01_first.drawn", "chapters-02_second", "solutions.chapters-01_first.1"):
        assert f'href="#{target}"' in soup
        after = soup.partition(f'href="#{target}"')[2].partition("</a>")[0]
        assert after.endswith(f'<span class="tb-page-number">{pages[target]}</span>')


def test_formulas_and_pictures_are_told_apart(book):
    with pikepdf.open(book) as opened:
        named = {(str(e.S), str(e.Alt)) for e in pdf_check.elements(opened) if "/Alt" in e}
    assert ("/Formula", "Formula: x^2") in named
    assert {("/Figure", "A square."), ("/Figure", "A dial at 3."), ("/Figure", "A dot.")} <= named


@pytest.mark.parametrize(
    ("complaint", "change"),
    [
        ("language", lambda opened: opened.Root.__delitem__("/Lang")),
        ("tags", lambda opened: opened.Root.__delitem__("/StructTreeRoot")),
        ("title", lambda opened: opened.docinfo.__setitem__("/Title", "Another")),
        ("alternative text", lambda opened: strip_alt(opened, "/Figure")),
        ("alternative text", lambda opened: strip_alt(opened, "/Formula")),
        ("embedded font", lambda opened: strip_font(opened)),
        ("bookmarks", lambda opened: drop_bookmark(opened)),
        ("link", lambda opened: link_to(opened, "file:///home/someone/book.html")),
        ("link", lambda opened: link_to(opened, "chapters/01_first.html")),
        ("lead somewhere", lambda opened: opened.Root.Dests.__delitem__("/chapters-02_second.deep")),
    ],
)
def test_each_defect_is_named(book, tmp_path, complaint, change):
    [problem] = tampered(book, tmp_path, change)[:1]
    assert complaint in problem


def strip_alt(opened, kind):
    element = next(e for e in pdf_check.elements(opened) if kind == e.S and "/Alt" in e)
    del element["/Alt"]


def strip_font(opened):
    font = next(font for font in pdf_check.fonts(opened) if font.Subtype == "/Type0")
    del font.DescendantFonts[0].FontDescriptor["/FontFile2"]


def drop_bookmark(opened):
    with opened.open_outline() as outline:
        outline.root.pop()


def link_to(opened, address):
    link = pikepdf.Dictionary(Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Link, Rect=[0, 0, 1, 1])
    link.A = pikepdf.Dictionary(S=pikepdf.Name.URI, URI=pikepdf.String(address))
    opened.pages[0].obj.Annots = pikepdf.Array([opened.make_indirect(link)])


def test_character_that_no_font_has_is_named(book):
    [problem] = pdf_check.problems(book, **EXPECTED | {"shown": "x龘"})
    assert "龘 (U+9F98)" in problem


def test_wrong_title_stops_the_making(browser, read, tmp_path, monkeypatch):
    monkeypatch.setattr(pdf_check, "problems", lambda *_, **__: ["the sky is green"])
    with pytest.raises(TakeawayError, match="the sky is green"):
        pdf.make(browser, read(), tmp_path / "small.pdf")


def test_characters_of_a_font_are_read():
    one = b"1 beginbfchar\n<87> <81EA>\nendbfchar "
    many = b"2 beginbfrange\n<01> <03> <0061>\n<04> <05> [<0078> <0079>]\nendbfrange"
    assert pdf_check.characters(one + many) == set("自abcxy")


def test_radicals_are_named_as_characters():
    assert (
        pdf.plain_radicals(b"<87> <2F83>\n<2F83> <0041>\n<0001> <2ED3>")
        == b"<87> <81EA>\n<2F83> <0041>\n<0001> <957F>"
    )


def test_bookmarks_get_back_the_spaces_between_their_lines():
    printed = pikepdf.new()
    printed.add_blank_page()
    with printed.open_outline() as outline:
        outline.root.append(pikepdf.OutlineItem("Where studentsgo", 0))
        outline.root[0].children.append(pikepdf.OutlineItem("Elsewhere", 0))
    pdf.part_words(printed, ["Where students go", "Another title"])
    with printed.open_outline() as outline:
        assert outline.root[0].title == "Where students go"
        assert outline.root[0].children[0].title == "Elsewhere"  # another title is a fault, which the check names


def test_heading_without_an_id_is_an_error(read):
    volume = read()
    del find(volume.pages[1].body, "#chapters-01_first\\.drawn")["id"]
    with pytest.raises(TakeawayError, match="expected an id for the section 'Drawn'"):
        pdf.lay_out(volume)


def test_missing_picture_is_an_error(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text('<img src="absent.png" alt="">', encoding="utf-8")
    with pytest.raises(TakeawayError, match=r"absent\.png"):
        open_file(browser, path)


def test_picture_of_a_widget_shows_it(browser, small):
    with Image.open(BytesIO(Camera(browser, small / "_build" / "html")("chapters/01_first", 0))) as picture:
        assert picture.width == 180
        red, _, blue = picture.convert("RGB").getpixel((90, 2))
        assert red > 200 > blue
