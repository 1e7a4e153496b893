from xml.etree import ElementTree

import pytest

SVG = '<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{body}</svg>'


@pytest.fixture(scope="module")
def inline(extension):
    def run(body="", attributes='viewBox="0 0 640 200"', name="fig", alt="A picture."):
        return ElementTree.fromstring(
            extension("inline_svg").inline(SVG.format(attributes=attributes, body=body), name, alt)
        )

    return run


def find(root, tag):
    (element,) = root.iter(f"{{http://www.w3.org/2000/svg}}{tag}")
    return element


def test_name_and_size_are_the_pages_affair(inline):
    root = inline(
        "<title>file title</title><desc>d</desc>", 'viewBox="0 0 640 200" width="9" height="9"', alt="A & “B”"
    )
    assert root.get("role") == "img"
    assert root.get("aria-label") == "A & “B”"
    assert root.get("style") == "max-width: 640px"
    assert root.get("width") is root.get("height") is None
    assert len(root) == 0


def test_ids_and_references_become_the_figures_own(inline):
    root = inline(
        '<defs><marker id="tip"/></defs><use xmlns:x="http://www.w3.org/1999/xlink" x:href="#tip"/>'
        '<line marker-end="url(#tip)"/>'
        '<a href="https://example.org/#tip"/>'
    )
    assert find(root, "marker").get("id") == "fig-tip"
    assert find(root, "use").get("href") == "#fig-tip"
    assert find(root, "line").get("marker-end") == "url(#fig-tip)"
    assert find(root, "a").get("href") == "https://example.org/#tip"


def test_styles_hold_for_the_figure_only(inline):
    root = inline('<style>.box { fill: #tipped } #tip { fill: #fff }</style><rect id="tip" class="box"/>')
    assert find(root, "style").text == "#fig { .box { fill: #tipped } #fig-tip { fill: #fff } }"


def test_elements_have_no_prefix(extension):
    text = extension("inline_svg").inline(SVG.format(attributes='viewBox="0 0 1 1"', body="<g/>"), "fig", "alt")
    assert text.startswith("<svg ")
    assert ":svg" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<svg", "expected well-formed XML"),
        ("<svg viewBox='0 0 1 1'/>", "expected an <svg> of the SVG namespace, got <svg>"),
        (SVG.format(attributes="", body=""), "expected a viewBox, found none"),
        (SVG.format(attributes='viewBox="0 0 1 1"', body="<script/>"), "got a script"),
        (SVG.format(attributes='viewBox="0 0 1 1" onload="x()"', body=""), "got a script"),
    ],
)
def test_other_files_are_refused(extension, text, message):
    with pytest.raises(ValueError, match=message):
        extension("inline_svg").inline(text, "fig", "alt")
