"""The icons of the theme as SVG, without the theme's script."""

import re

import pytest
from bs4 import BeautifulSoup


@pytest.fixture(scope="module")
def local_icons(extension):
    return extension("local_icons")


@pytest.mark.parametrize(
    "place",
    [
        '<i class="fa-solid fa-bars"></i>',
        '<span class="fas fa-bars"></span>',
        '<i class="theme-switch fas   fa-bars fa-lg" data-mode="light" title="Light"></i>',
        '<i class="fa-solid fa-navicon"></i>',  # its older name
    ],
)
def test_a_place_gets_its_icon(local_icons, place):
    (svg,) = BeautifulSoup(local_icons.draw(f"<p>{place}</p>", "page"), "html.parser").p.contents
    assert svg.path["d"] == local_icons.icons()["bars"].path
    assert svg["viewbox"] == "0 0 448 512"
    assert svg["aria-hidden"] == "true"
    assert svg.get("title") is None  # a tooltip of its own beside the button's
    assert svg.get("data-mode") == ("light" if "data-mode" in place else None)
    assert not {"fa-solid", "fas"} & set(svg["class"])
    assert "svg-inline--fa" in svg["class"]
    assert ("fa-lg" in svg["class"]) == ("fa-lg" in place)


def test_a_name_of_several_drawings_gives_the_solid_one(local_icons):
    script = local_icons.SCRIPT.read_text(encoding="utf-8")
    regular, solid = re.findall(r'[{,]sun:\[\d+,\d+,\[[^\]]*\],"f185","([^"]+)"\]', script)
    assert local_icons.icons()["sun"].path == solid != regular


def test_nothing_else_on_the_page_changes(local_icons):
    page = '<i class="far">word</i><i class="fancy far-away"></i><i class="fa-solid fa-bars">text</i>'
    assert local_icons.draw(page, "page") == page


def test_an_unknown_icon_is_a_warning(local_icons, caplog):
    place = '<i class="fa-solid fa-no-such-icon"></i>'
    assert local_icons.draw(place, "book/intro") == place
    assert "expected an icon of the theme, got 'fa-solid fa-no-such-icon'" in caplog.text


def test_every_icon_of_the_style_sheet_is_there(local_icons):
    css = local_icons.style()
    for name, place in local_icons.DRAWN_BY_STYLE.items():
        (drawing,) = re.findall(re.escape(place) + r' \{ --tb-icon: url\("([^"]*)"\); \}', css)
        assert drawing.startswith("data:image/svg+xml,%3Csvg xmlns=")
        assert local_icons.icons()[name].path.split(" ")[0] in drawing


def test_the_script_and_its_fonts_are_not_published(built):
    static = built.root / "_build/html/_static"
    assert not [*static.rglob("*fontawesome*.js*"), *static.rglob("fa-*.woff2")]
    assert "fontawesome" not in built.page("book/intro")
    assert "_static/icons.css" in built.page("book/intro")
