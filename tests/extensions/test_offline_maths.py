import pytest


@pytest.fixture(scope="module")
def typesetter(extension):
    typesetter = extension("offline_maths").Typesetter()
    yield typesetter
    typesetter.close()


def test_inline_and_display(typesetter):
    assert 'class="katex-display"' not in typesetter.render("a_1", False)
    assert 'class="katex-display"' in typesetter.render("a_1", True)


def test_answers_keep_their_order_and_their_letters(typesetter):
    for tex in (r"\text{“é”, 注意}", "b", r"\alpha"):
        assert f'application/x-tex">{tex}</annotation>' in typesetter.render(tex, False)


def test_an_error_says_what_and_does_not_end_the_process(typesetter):
    with pytest.raises(ValueError, match=r"Undefined control sequence: \\nonsense at position 5"):
        typesetter.render(r"a + \nonsense", False)
    with pytest.raises(ValueError, match="strict mode is set to 'error'"):  # it would not typeset in a notebook
        typesetter.render(r"\text{√}", True)
    assert "katex" in typesetter.render("a", False)


def test_the_process_ends_with_the_build(extension):
    typesetter = extension("offline_maths").Typesetter()
    typesetter.render("a", False)
    process = typesetter._process
    typesetter.close()
    assert process.returncode == 0
