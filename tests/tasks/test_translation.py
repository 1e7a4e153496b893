"""Translation: pairs as read, splits, subwords, drawn examples, what a stored task brings along."""

import json
import os
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_book.tasks import make_task, translation
from transformer_book.tasks.sources import SOURCES, Source, SourceError, fetch
from transformer_book.tasks.task import SPLITS, collate
from transformer_book.tasks.translation import (
    LANGUAGES,
    Pair,
    Translation,
    fold,
    normalise,
    read_pairs,
    split,
    tatoeba_pairs,
    train_tokenizer,
)

WORDS = {
    "the": "le",
    "cat": "chat",
    "dog": "chien",
    "sees": "voit",
    "big": "gros",
    "fish": "poisson",
    "Tom": "Tom",
}
SENTENCES = "\n".join(
    [
        "1\t猫。\tThe cat.\t-\tDie Katze.\tLe chat.\tEl gato.\t-\t-",
        "2\t猫だ。\tThe cat.\t-\t-\tLe  chat\u202f!\t-\t-\t-",
        "3\t犬。\tThe dog.\t-\tDer Hund.\t-\t-\t-\t-",
        "4\t猫。\tThe cat.\t-\tDie Katze.\tLe chat.\t-\t-\t-",
        "5\t見た。\t-\t-\tGesehen.\tVu.\t-\t-\t-",
        "6\t我。\tIt isn\u2019t\u00a0me.\t-\t-\tCe n\u2019est pas moi.\t-\t-\tA",
        "",
    ]
)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Write a file of pairs made of few words, word by word."""
    generator, lines = random.Random(0), set()
    for _ in range(600):
        english = generator.choices([*WORDS], k=generator.randint(1, 6))
        lines.add(f"{' '.join(english)}.\t{' '.join(map(WORDS.__getitem__, english))}.")
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(sorted(lines)), encoding="utf-8")
    return path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use six lines in place of Tatoeba's sentences."""
    (tmp_path / "SENTENCES").write_text(SENTENCES, encoding="utf-8")

    def tiny_fetch(source: Source) -> Path:
        assert source is SOURCES["tatoeba"]
        return tmp_path / "SENTENCES"

    monkeypatch.setattr(translation, "fetch", tiny_fetch)
    tatoeba_pairs.cache_clear()
    yield
    tatoeba_pairs.cache_clear()


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither a cache nor a network."""

    def refuse(source: Source) -> Path:
        raise SourceError(f"{source.name}: no network")

    monkeypatch.setattr(translation, "fetch", refuse)
    tatoeba_pairs.cache_clear()


@pytest.fixture(scope="module")
def real() -> Translation:
    """Learn subwords from Tatoeba's sentences; skip where they cannot be had, but fail where CI=true."""
    try:
        fetch(SOURCES["tatoeba"])
    except SourceError as error:
        reason = str(error).partition("\n")[0]
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return Translation()


# --- sentences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Où est-ce\u202f?", "Où est-ce ?"),
        ("\u00a0 C’est\u2009ça\t! \n", "C'est ça !"),
        ("e\u0301te\u0301", "été"),
        ("«\u00a0Oui\u00a0»", "« Oui »"),
        ("日本 👩‍👩‍👧 \ufb01", "日本 👩‍👩‍👧 \ufb01"),
    ],
)
def test_normalised(text: str, normalised: str) -> None:
    assert normalise(text) == normalised


@given(st.text())
def test_what_is_normalised_stays_as_it_is(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_a_fold_leaves_letters_and_digits() -> None:
    assert fold("I'll be there — at 10:30, OK?!") == "illbethereat1030ok"
    assert fold("STRASSE ÉTÉ") == fold("straße été")
    assert fold("It isn’t.") == fold("it isn't") == fold("Itisnt")
    assert fold("a cat") != fold("a car")


def test_the_split_of_a_sentence_never_changes() -> None:
    sentences = {
        "Sentence 0.": "train",
        "Sentence 1.": "validation",
        "Sentence 2.": "train",
        "Sentence 25.": "test",
        "Je t’ai vu !": "train",
    }
    assert {sentence: split(sentence) for sentence in sentences} == sentences


@given(st.text(), st.sampled_from([str.upper, str.title, lambda s: s + "!", lambda s: f" « {s} »…", lambda s: s]))
def test_case_spacing_and_punctuation_do_not_change_the_split(text: str, change: Callable[[str], str]) -> None:
    text = "".join(c for c in text if c.upper().lower() == c)  # of other letters, case has more than one form
    assert split(change(text)) == split(text)


def test_splits_are_ninety_to_five_to_five() -> None:
    counts = Counter(split(f"sentence {i}") for i in range(20_000))
    for part, share in zip(SPLITS, (0.9, 0.05, 0.05), strict=True):
        assert abs(counts[part] - 20_000 * share) < 5 * sqrt(20_000 * share * (1 - share))


# --- pairs -------------------------------------------------------------------------------------------------------


def test_the_pairs_of_a_language(tiny: None) -> None:
    assert tatoeba_pairs("fr") == (
        Pair("The cat.", "Le chat."),
        Pair("The cat.", "Le chat !"),
        Pair("It isn't me.", "Ce n'est pas moi."),
    )
    assert tatoeba_pairs("de") == (Pair("The cat.", "Die Katze."), Pair("The dog.", "Der Hund."))
    assert tatoeba_pairs("es") == (Pair("The cat.", "El gato."),)


def test_pairs_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    text = "\ufeffI see.\tJe vois.\r\n\r\n  \nI see!\tJe  vois\u202f!\nI see.\tJe vois.\n你好\tbonjour 👋"
    path.write_bytes(text.encode())
    assert read_pairs(path) == (
        Pair("I see.", "Je vois."),
        Pair("I see!", "Je vois !"),
        Pair("你好", "bonjour 👋"),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\tb\nab\n", "{}, line 2: expected two sentences with a tab between them, got 1"),
        (b"\n\na\tb\tc", "{}, line 3: expected two sentences with a tab between them, got 3"),
        (b"a\tb\n \tb", "{}, line 2: expected two sentences with a tab between them, got an empty one"),
        (b"a\tb\na\t", "{}, line 2: expected two sentences with a tab between them, got an empty one"),
        (b"a\tb\nc\t\xe9t\xe9\n", "{}, line 2: expected UTF-8, got byte 0xe9 at 2"),
        (b"", "{}: expected at least one line with two sentences, got none"),
        (b"\n \n", "{}: expected at least one line with two sentences, got none"),
    ],
)
def test_a_file_that_is_no_list_of_pairs(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(data)
    for read in (lambda: read_pairs(path), lambda: Translation(pairs=str(path))):
        with pytest.raises(ValueError, match="expected") as caught:
            read()
        assert str(caught.value) == message.format(path)
        assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Translation(pairs=str(tmp_path / "absent.tsv"))


def test_no_sentence_is_in_two_splits(pairs: Path) -> None:
    text = pairs.read_text(encoding="utf-8")
    pairs.write_text(f"{text}\n{text.upper()}\n{text.replace('.', ' !')}", encoding="utf-8")
    task = Translation(pairs=str(pairs), vocabulary_size=300)
    folds = {part: {fold(pair.source) for pair in task.pairs(part)} for part in SPLITS}
    assert all(folds.values())
    assert sum(map(len, folds.values())) == len(set.union(*folds.values()))
    assert sum(len(task.pairs(part)) for part in SPLITS) == len(read_pairs(pairs))


# --- subwords ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sentence",
    [
        "the cat sees Tom.",
        "été « ça » — œuf… 3,14 €",
        "日本語のテキスト",
        "👩‍👩‍👧 🇫🇷 \U0001f9e0",
        "never \u200b seen \x07 \ufffd",
        "<s> [PAD] </s> Ġ Ã©",
        ". ! ?",
    ],
)
def test_subwords_give_the_sentence_back(pairs: Path, sentence: str) -> None:
    task = Translation(pairs=str(pairs), vocabulary_size=300)
    assert task.text(task.parse(sentence)) == normalise(sentence)
    task.source_vocabulary.encode(task.parse(sentence))  # and none of them is unknown


@given(sentence=st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(normalise).filter(bool))
def test_any_sentence_is_given_back(tokens: Translation, sentence: str) -> None:
    assert tokens.text(tokens.parse(sentence)) == sentence


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Translation:
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("\n".join(f"the cat {i}\tle chat {i}" for i in range(40)), encoding="utf-8")
    return Translation(pairs=str(path), vocabulary_size=280)


def test_subwords_grow_out_of_frequent_neighbours() -> None:
    tokenizer = train_tokenizer(["aab aab aab", "aab"], 259)
    assert tokenizer.encode("aab aab").tokens == ["Ġaab", "Ġaab"]
    assert tokenizer.get_vocab_size() == 259  # 256 bytes, and aa, aab, and with the space before it: in some order


def test_both_languages_share_their_subwords(pairs: Path) -> None:
    task = Translation(pairs=str(pairs), vocabulary_size=400)
    assert task.source_vocabulary is task.target_vocabulary
    assert task.parse("Tom")[0] in task.examples("train")[-1].target + [
        s for e in task.examples("train") for s in e.target
    ]
    assert "Ġcat" in task.source_vocabulary.symbols
    assert "Ġchien" in task.source_vocabulary.symbols


def test_subwords_are_learnt_from_the_training_split_alone(pairs: Path, tmp_path: Path) -> None:
    text = pairs.read_text(encoding="utf-8").splitlines()
    train = [line for line in text if split(line.partition("\t")[0]) == "train"]
    assert len(train) < len(text)
    other = tmp_path / "train.tsv"
    other.write_text("\n".join(reversed(train)), encoding="utf-8")
    first, second = (Translation(pairs=str(path), vocabulary_size=300) for path in (pairs, other))
    assert first.settings()["tokenizer"] == second.settings()["tokenizer"]


def test_another_process_learns_the_same_subwords(pairs: Path) -> None:
    code = (
        "import hashlib; from transformer_book.tasks.translation import Translation; "
        f"print(hashlib.sha256(Translation(pairs={str(pairs)!r}, vocabulary_size=300)"
        ".settings()['tokenizer'].encode()).hexdigest())"
    )
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in "ab"]
    assert done[0].stdout == done[1].stdout


# --- examples ----------------------------------------------------------------------------------------------------


def test_drawn_examples_are_pairs_of_the_split(pairs: Path) -> None:
    task = Translation(pairs=str(pairs), vocabulary_size=300)
    for part in SPLITS:
        every = [Pair(task.text(e.source), task.text(e.target)) for e in task.examples(part)]
        assert every == task.pairs(part)
        drawn = [Pair(task.text(e.source), task.text(e.target)) for e in task.sample(500, random.Random(0), part)]
        assert set(drawn) <= set(every)
        assert len(set(drawn)) > min(len(every), 500) / 3
    again = task.sample(7, random.Random(3))
    assert again == task.sample(7, random.Random(3)) != task.sample(7, random.Random(4))
    batch = collate(again, task.source_vocabulary, task.target_vocabulary)
    assert task.text(task.target_vocabulary.decode(batch.target[0].tolist())) == task.text(again[0].target)


def test_long_pairs_are_left_out_of_training_and_cut_elsewhere(pairs: Path) -> None:
    whole = Translation(pairs=str(pairs), vocabulary_size=300)
    short = Translation(pairs=str(pairs), vocabulary_size=300, longest=6)
    fits = [e for e in whole.examples("train") if len(e.source) <= 6 and len(e.target) <= 6]
    assert 0 < len(fits) < len(whole.examples("train"))
    assert short.examples("train") == fits
    for part in ("validation", "test"):
        assert [e.target for e in short.examples(part)] == [e.target for e in whole.examples(part)]
        assert [e.source for e in short.examples(part)] == [e.source[:6] for e in whole.examples(part)]
        assert max(len(e.source) for e in whole.examples(part)) > 6
    assert short.max_target_length == 7


def test_a_typed_sentence(tokens: Translation) -> None:
    assert tokens.parse("  the\u202fcat ") == ["Ġthe", "Ġcat"]
    assert tokens.text(["Ġthe", "Ġcat"]) == "the cat"
    assert tokens.text([]) == ""
    assert tokens.text(["Ã"]) == "\ufffd"  # the first of two bytes
    with pytest.raises(ValueError, match=r"^text: expected a sentence, got none$"):
        tokens.parse(" \u202f ")
    with pytest.raises(ValueError, match=r"^text: expected a sentence of at most 128 subwords, got 129$"):
        tokens.parse("the " * 129)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"language": "it"}, "language: expected one of fr, de, es, got 'it'"),
        ({"vocabulary_size": 255}, "vocabulary_size: expected an integer ≥ 256, got 255"),
        ({"longest": 0}, "longest: expected an integer ≥ 1, got 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Translation(**settings)


def test_a_split_with_nothing_in_it(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    sentence = next(s for s in map("sentence {}".format, range(99)) if split(s) == "train")
    path.write_text(f"{sentence}\tphrase", encoding="utf-8")
    task = Translation(pairs=str(path), vocabulary_size=256)
    assert len(task.examples("train")) == 1
    with pytest.raises(
        ValueError, match=f"^split: expected one with at least one pair, got 'test' of {path}, with"
    ):
        task.sample(1, random.Random(0), "test")
    other = next(s for s in map("sentence {}".format, range(99)) if split(s) == "test")
    path.write_text(f"{other}\tphrase", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^pairs: expected at least one for training, got none in {path}$"):
        Translation(pairs=str(path), vocabulary_size=256)


# --- a stored task -----------------------------------------------------------------------------------------------


def test_a_stored_task_translates_without_its_sentences(pairs: Path, nothing: None) -> None:
    task = Translation(pairs=str(pairs), vocabulary_size=300)
    settings = json.loads(json.dumps(task.settings()))
    pairs.unlink()
    again = make_task("translation", **settings)
    assert again.settings() == task.settings()
    assert again.source_vocabulary.symbols == task.source_vocabulary.symbols
    assert again.parse("the cat sees 猫.") == task.parse("the cat sees 猫.")
    with pytest.raises(FileNotFoundError):
        again.sample(1, random.Random(0))
    tatoeba = make_task("translation", **settings | {"pairs": None})
    assert tatoeba.text(tatoeba.parse("the cat")) == "the cat"
    with pytest.raises(SourceError, match=r"^tatoeba: no network$"):
        tatoeba.sample(1, random.Random(0))


def test_a_tokenizer_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"^tokenizer: expected what settings\(\) gave, got other text: "):
        Translation(tokenizer="{}")


def test_without_the_sentences_the_error_says_so(nothing: None) -> None:
    with pytest.raises(SourceError, match=r"^tatoeba: no network$"):
        Translation()


def test_the_package_imports_neither_library_before_it_is_needed() -> None:
    code = (
        "import sys, transformer_book.tasks, transformer_book.tasks.bleu, transformer_book.training; "
        "sys.exit(' '.join({'tokenizers', 'sacrebleu'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- the real sentences ------------------------------------------------------------------------------------------


def test_the_real_sentences(real: Translation) -> None:
    counts = {language: len(tatoeba_pairs(language)) for language in LANGUAGES}
    assert counts == {"fr": 34_906, "de": 38_524, "es": 30_279}
    sizes = {part: len(real.pairs(part)) for part in SPLITS}
    assert sizes == {"train": 31_436, "validation": 1_767, "test": 1_703}
    folds = [{fold(pair.source) for pair in real.pairs(part)} for part in SPLITS]
    assert sum(map(len, folds)) == len(set.union(*folds)) == 33_986
    text = "".join(sentence for pair in tatoeba_pairs("fr") for sentence in pair)
    assert not set(text) & set("’\u202f\u00a0\u2009\t\n")
    assert unicodedata.is_normalized("NFC", text)
    assert Pair("Just a moment, please.", "Veuillez patienter un instant.") in tatoeba_pairs("fr")


def test_the_real_subwords(real: Translation) -> None:
    assert len(real.source_vocabulary) == 4003
    assert len(real.examples("train")) == 31_436  # none is too long
    for part in ("validation", "test"):
        pairs = [Pair(real.text(e.source), real.text(e.target)) for e in real.examples(part)]
        assert pairs == real.pairs(part)
    assert real.parse("I see the cat.") == ["ĠI", "Ġsee", "Ġthe", "Ġcat", "."]
