"""Dates: every form against Babel, every span against marks set by Babel, no string for two days, splits."""

import hashlib
import random
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from math import sqrt

import pytest
from babel.dates import format_date
from hypothesis import given
from hypothesis import strategies as st

from transformer_book.tasks.dates import (
    EVERYDAY,
    FIRST_DAY,
    LAST_DAY,
    LOCALES,
    LONGEST,
    SEPARATOR,
    Dates,
    Form,
    days_of,
    forms,
    normalise,
    split,
    write,
)
from transformer_book.tasks.task import SPLITS, collate

NUM_DAYS = (LAST_DAY - FIRST_DAY).days + 1
FIELDS = {"y": "year", "M": "month", "L": "month", "d": "day", "E": "weekday", "c": "weekday"}
ORDINALS = {"en": {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}, "fr": {1: "er"}}

every_form = pytest.mark.parametrize(
    "form",
    [form for locale in LOCALES for form in forms(locale)],
    ids=lambda form: f"{form.locale} {form.pattern}",
)


def random_days(count: int, seed: str) -> list[date]:
    generator = random.Random(seed)
    return [FIRST_DAY + timedelta(generator.randrange(NUM_DAYS)) for _ in range(count)]


def by_babel(day: date, form: Form) -> tuple[str, dict[str, tuple[int, int]]]:
    """Let Babel write the date with marks around each field; from them the spans."""
    fields = []

    def mark(match: re.Match) -> str:
        letters = match[0]
        if letters.startswith("'"):
            return letters
        fields.append(FIELDS[letters[0]])
        if letters == "do":
            language = form.locale[:2]
            suffix = ORDINALS[language].get(day.day, "th" if language == "en" else "")
            letters = f"d'{suffix}'" if suffix else "d"
        return f"\ue000{letters}\ue001"

    pattern = re.sub(r"''|'[^']*'|do|([yMLdEc])\1*", mark, form.pattern)
    marked = normalise(format_date(day, pattern, form.locale))
    pieces = re.split("[\ue000\ue001]", marked)
    ends = [sum(map(len, pieces[: i + 1])) for i in range(len(pieces))]
    spans = {field: (ends[2 * i], ends[2 * i + 1]) for i, field in enumerate(fields)}
    return "".join(pieces), spans


@every_form
def test_a_form_is_written_as_babel_writes_it_with_its_fields_where_babel_puts_them(form: Form) -> None:
    edges = [FIRST_DAY, LAST_DAY, date(2000, 2, 29), date(1999, 12, 31), date(2026, 11, 23), date(2001, 6, 1)]
    for day in edges + random_days(11, form.pattern):
        source, spans = by_babel(day, form)
        example = write([day], [form])
        assert example.source == source
        assert example.target == day.isoformat()
        fields = ["year"] * 4 + [None] + ["month"] * 2 + [None] + ["day"] * 2
        assert example.spans == tuple(field and spans[field] for field in fields)
        assert (example.days, example.locales, example.patterns) == ((day,), (form.locale,), (form.pattern,))


@every_form
def test_a_source_is_normalised_short_and_made_of_known_symbols(form: Form) -> None:
    known = set(Dates().source_vocabulary.symbols)
    for month in range(1, 13):
        for weekday in range(7):
            source = write([date(2026, month, 20 + weekday)], [form]).source
            assert source == normalise(source)
            assert len(source) <= LONGEST
            assert set(source) <= known
            assert ";" not in source


def ambiguous(ways: Iterable[Form], days: list[date]) -> list[str]:
    """Find the strings that two of the days share."""
    ways, seen = list(ways), {}
    sources = ((write([day], [form]).source, day) for form in ways for day in days)
    return [source for source, day in sources if seen.setdefault(source, day) != day]


def test_no_two_days_share_a_string() -> None:
    """Once run on all days of the century, 5.6 million strings; here on two years and some days of the others."""
    days = [date(2011, 1, 1) + timedelta(i) for i in range(731)]
    days += [date(year, month, 12) for year in range(1950, 2050) for month in (1, 10)]
    assert ambiguous([form for locale in LOCALES for form in forms(locale)], sorted(set(days))) == []


@every_form
def test_no_form_is_ambiguous_elsewhere(form: Form) -> None:
    source = write([date(2012, 11, 10)], [form]).source
    assert "2012" in source or "'12" in source
    assert not re.search(r"10[/-]11|11[/-]10[/-]2012", source)


@pytest.mark.parametrize("patterns", [("d/M/y", "M/d/y"), ("d MMM yy", "yy MMM d"), ("d.M.yy", "yy.M.d")])
def test_the_search_for_shared_strings_finds_them(
    patterns: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVERYDAY, "en", patterns)
    days = [date(2011, 1, 1) + timedelta(i) for i in range(731)]
    assert ambiguous(forms.__wrapped__("en"), days) != []


def test_forms_a_reader_would_type() -> None:
    written = {write([date(2026, 11, 23)], [form]).source for locale in LOCALES for form in forms(locale)}
    for text in (
        *("2026-11-23", "Mon, Nov 23, '26", "November 23, 2026", "Monday, 23 November 2026", "23 Nov 2026"),
        *("Nov. 23, 2026", "November 23rd, 2026", "23rd of November 2026", "Mon Nov 23 2026", "23-Nov-2026"),
        *(
            "2026年11月23日",
            "2026 年 11 月 23 日",
            "2026年11月23日 星期一",
            "2026年11月23日（周一）",
            "2026/11/23",
        ),
        *("2026年11月23日 週一", "lundi 23 novembre 2026", "Montag, 23. November 2026", "23.11.2026"),
        *(
            "lunes, 23 de noviembre de 2026",
            "2026년 11월 23일 월요일",
            "понедельник, 23 ноября 2026 г.",
            "2026. 11. 23.",
        ),
    ):
        assert normalise(text) in written, text


def test_every_locale_has_its_own_words_and_its_forms_are_different() -> None:
    assert len(set(LOCALES)) == len(LOCALES) >= 24
    day = date(2026, 5, 4)
    for locale in LOCALES:
        sources = [write([day], [form]).source for form in forms(locale)]
        assert len(forms(locale)) >= 3
        assert normalise(format_date(day, "full", locale)) in sources
        assert normalise(format_date(day, "long", locale)) in sources
        assert normalise(format_date(day, "medium", locale)) in sources
        assert len({form.parts for form in forms(locale)}) == len(forms(locale))
    assert len({write([day], [forms(locale)[0]]).source for locale in LOCALES}) == len(LOCALES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Mon,\u00a0 Nov\t23, ’26\n", "mon, nov 23, '26"),
        ("２０２６年１１月２３日", "2026年11月23日"),
        ("23 ноября 2026\u202fг.", "23 ноября 2026 г."),
        ("٢٣ 2026", "23 2026"),
        ("2026–11—23", "2026-11-23"),
        ("2026−11‑23", "2026-11-23"),
        ("ΤΡΊΤΗ İSTANBUL", "τρίτη istanbul"),
        ("Mo\u0308nch", "mönch"),
        ("`26 ´26 ʼ26 ′26 ＇26", "'26 '26 '26 '26 '26"),
        ("\u200f3\u200e/\ufeff4", "3/4"),
        ("（一）；，", "(一);,"),
        ("H\u0331 a\u200d\u0308", "\u1e96 ä"),  # small letters can join where capitals cannot
        ("", ""),
    ],
)
def test_normalised_by_hand(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert normalise(f" {text}\u3000") == once
    assert not any(unicodedata.category(character) in ("Cf", "Zs", "Pd") for character in set(once) - {" ", "-"})


def test_splits_are_disjoint_cover_all_days_and_never_change() -> None:
    parts = {part: set(days_of(part)) for part in SPLITS}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == NUM_DAYS == 36525
    shares = {part: len(days) / NUM_DAYS for part, days in parts.items()}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.005)
    assert all(split(day) == part for part, days in parts.items() for day in days)
    # Another hash would let stored models be judged on days they were trained on.
    test_days = " ".join(map(str, days_of("test")))
    assert hashlib.sha256(test_days.encode()).hexdigest().startswith("01ccc9cad4b310a8")


@pytest.mark.parametrize("part", SPLITS)
@pytest.mark.parametrize("k", [1, 3])
def test_samples_come_from_their_split_alone(part: str, k: int) -> None:
    examples = Dates(k).sample(997, random.Random(0), part)
    days = [day for example in examples for day in example.days]
    assert len(days) == 997 * k
    assert {split(day) for day in days} == {part}
    assert len(set(days)) > 600


def test_days_and_forms_are_drawn_uniformly_and_apart() -> None:
    task = Dates(locales=["en", "zh"])
    examples = task.sample(20_000, random.Random(3))
    ways = len(forms("en")) + len(forms("zh"))
    for counts, values in (
        (Counter(e.locales + e.patterns for e in examples), ways),
        (Counter(e.days[0].day for e in examples if e.days[0].day <= 28), 28),
        (Counter(e.days[0].year for e in examples), 100),
        (Counter((e.days[0].weekday(), e.locales + e.patterns) for e in examples), 7 * ways),
    ):
        mean = counts.total() / values
        assert len(counts) == values
        assert all(abs(count - mean) < 5 * sqrt(mean) for count in counts.values())


@pytest.mark.parametrize("k", [1, 2, 5])
def test_dates_in_a_row_are_dates_side_by_side(k: int) -> None:
    task = Dates(k)
    assert task.max_target_length == 11 * k
    for example in task.sample(53, random.Random(k)):
        singles = [
            write([day], [next(f for f in forms(locale) if f.pattern == pattern)])
            for day, locale, pattern in zip(example.days, example.locales, example.patterns, strict=True)
        ]
        assert len(singles) == k
        assert example.source == SEPARATOR.join(single.source for single in singles)
        assert example.target == " ".join(single.target for single in singles)
        assert len(example.target) + 1 == task.max_target_length
        assert len(example.spans) == len(example.target)
        for i, single in enumerate(singles):
            ours = example.spans[11 * i : 11 * i + 10]
            for span, other in zip(ours, single.spans, strict=True):
                assert (span is None) == (other is None)
                assert span is None or example.source[slice(*span)] == single.source[slice(*other)]
                start = sum(len(s.source) + 3 for s in singles[:i])
                assert span is None or span[0] - start == other[0]
        assert all(example.spans[11 * i - 1] is None for i in range(1, k))


def test_mean_lengths_double_with_the_dates_in_a_row() -> None:
    for k, expected in ((1, 16), (2, 35), (4, 74), (8, 151)):
        examples = Dates(k).sample(2000, random.Random(0))
        assert sum(len(example.source) for example in examples) / 2000 == pytest.approx(expected, abs=1)


def test_the_vocabulary_does_not_depend_on_the_dial_and_is_sorted() -> None:
    one, eight = Dates(), Dates(8)
    symbols = one.source_vocabulary.symbols
    assert symbols == eight.source_vocabulary.symbols == tuple(sorted(symbols))
    assert one.target_vocabulary.symbols == eight.target_vocabulary.symbols == tuple("0123456789- ")
    assert set("0123456789 ;'年月星周") <= set(symbols)
    batch = collate(eight.sample(7, random.Random(0)), eight.source_vocabulary, eight.target_vocabulary)
    assert batch.target.shape == (7, 89)


def test_fewer_locales_need_fewer_symbols() -> None:
    english = Dates(locales=["en"])
    assert set(english.source_vocabulary.symbols) <= set(" ',-.;0123456789abcdefghijklmnopqrstuvwxyz")
    assert english.settings()["locales"] == ["en"]
    assert {example.locales for example in english.sample(97, random.Random(0))} == {("en",)}


def test_a_stored_model_reads_dates_without_babel_by_its_own_symbols() -> None:
    code = """
import sys
sys.modules["babel"] = None  # so that importing it fails
from transformer_book.tasks import make_task
task = make_task("dates", symbols=list("cba321 "))
assert task.parse("ABC 123") == "abc 123"
assert task.settings()["symbols"] == ["c", "b", "a", "3", "2", "1", " "]
assert len(task.source_vocabulary) == 10
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_typed_text() -> None:
    assert Dates().parse(" Mon, Nov 23, ’26 ") == "mon, nov 23, '26"
    assert Dates(2).parse("Nov 1, 2026;2026年11月2日") == "nov 1, 2026 ; 2026年11月2日"
    assert Dates(2).parse("Nov 1, 2026 ；2026年11月2日;") == "nov 1, 2026 ; 2026年11月2日"
    assert Dates().text(list("2026-11-23")) == "2026-11-23"
    assert len(Dates().parse("1" * 40)) == 40
    assert len(Dates(2).parse("1" * 39 + ";" + "1" * 41)) == 83


@pytest.mark.parametrize(
    ("k", "text", "message"),
    [
        (1, "", "text: expected 1 date, got none"),
        (1, " \u3000\u200b", "text: expected 1 date, got none"),
        (1, " ; ", "text: expected 1 date, got none"),
        (1, "1 May 2026; 2 May 2026", "text: expected 1 date, got 2"),
        (3, "1 May 2026; 2 May 2026", "text: expected 3 dates with ; between them, got 2"),
        (1, "1" * 41, "text: expected at most 40 characters, got 41"),
        (2, "1" * 44 + ";" + "1" * 37, "text: expected at most 83 characters, got 84"),
        (1, "1 May 2026!", "sequence: expected only symbols of the vocabulary, got '!' at position 10"),
        (1, "二〇二六年", "sequence: expected only symbols of the vocabulary, got '〇' at position 1"),
    ],
)
def test_text_that_is_no_source_is_refused(k: int, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Dates(k).parse(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dates_in_a_row": 0}, r"dates_in_a_row: expected an integer ≥ 1, got 0"),
        ({"locales": []}, r"locales: expected some of en, en_GB, .*, got none"),
        ({"locales": ["en", "xx", "eo"]}, r"locales: expected some of en, en_GB, .*, got eo, xx"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Dates(**settings)


def test_forms_of_an_unknown_locale_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^locale: expected one of en, .*, hu, got 'xx'$"):
        forms("xx")


@pytest.mark.parametrize("day", [FIRST_DAY - timedelta(1), LAST_DAY + timedelta(1)])
def test_a_day_of_another_century_is_refused(day: date) -> None:
    with pytest.raises(ValueError, match=f"^days: expected 1950-01-01 … 2049-12-31, got {day}$"):
        write([FIRST_DAY, day], forms("en")[:2])
