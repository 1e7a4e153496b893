"""Dates: read a date as people write it in many languages, and write it as ``2026-11-23``.

The forms come from Babel, that is from the Unicode CLDR, with some everyday ones beside them. No two days share a
string. The examples are synthetic and rules could read most of them; but what each character of the target is read
from is known, so that an alignment can be scored.
"""

import datetime
import hashlib
import random
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from transformer_book.tasks.task import SPLITS, Example, Split, check_sampling
from transformer_book.tasks.vocabulary import Vocabulary

FIRST_DAY, LAST_DAY = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)

#: Gregorian calendar and digits 0 … 9 in all of them.
LOCALES = (
    *("en", "en_GB", "zh", "zh_Hant", "fr", "de", "es", "it", "pt", "nl", "ja", "ko", "ru"),
    *("sv", "da", "nb", "fi", "pl", "cs", "tr", "id", "vi", "uk", "el", "ro", "hu"),
)

#: CLDR's short form is left out: 11/12/26 is another day in London than in New York.
FORMATS = ("full", "long", "medium")
SKELETONS = ("yMMMd", "yMMMEd", "yMMMMd", "yMMMMEd", "yMMMMEEEEd")

#: Patterns in CLDR's letters, for which see Unicode TR 35; ``do`` is the day as an ordinal number, 23rd.
EVERYDAY = {
    "en": (
        *("y-MM-dd", "MMM d y", "MMMM d y", "EEE MMM d y", "EEEE MMMM d y", "EEE, MMM d, ''yy", "MMM d, ''yy"),
        *("MMM. d, y", "EEEE, MMM d, y", "MMM do, y", "MMMM do, y", "MMMM do y", "EEEE, MMMM do, y"),
    ),
    "en_GB": (
        *("d MMM ''yy", "dd MMM y", "dd-MMM-y", "EEE d MMM y", "EEEE d MMMM y", "d MMMM, y"),
        *("do MMM y", "do MMMM y", "do 'of' MMMM y", "EEEE do MMMM y", "EEEE, do 'of' MMMM, y"),
    ),
    "zh": (
        *("y-MM-dd", "y/M/d", "y/MM/dd", "y.M.d", "y年MM月dd日", "y 年 M 月 d 日", "y年 M月 d日", "y年M月d号"),
        *("y年M月d日 EEEE", "y年M月d日 EEE", "y年M月d日(EEEE)", "y年M月d日(EEE)", "y-MM-dd EEEE"),
    ),
    "fr": ("do MMMM y", "EEEE do MMMM y"),
    "de": ("d.M.y", "EEEE, 'den' d. MMMM y"),
    "ru": ("d MMMM y", "d MMMM y 'года'"),
    "uk": ("d MMMM y", "d MMMM y 'року'"),
}
ORDINALS = {
    "en": tuple(
        f"{d}{'th' if d // 10 == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(d % 10, 'th')}" for d in range(1, 32)
    ),
    "fr": ("1er", *map(str, range(2, 32))),
}

SEPARATOR = " ; "
#: Most characters of one date; the longest form has fewer.
LONGEST = 40

_APOSTROPHES = "‘’‛ʹʼˊ′`"
_MINUS = "−"

Span = tuple[int, int]


def normalise(text: str) -> str:
    """Write text as all sources are written: small letters, plain spaces, dashes, apostrophes and digits.

    Besides Unicode NFKC: white space becomes one space, and none at the ends; invisible marks, as of direction,
    go. What is normalised stays as it is.
    """
    return " ".join(_fold(text).split())


def _fold(text: str) -> str:
    text = unicodedata.normalize("NFKC", text.replace("´", "'"))  # which NFKC would make a space and an accent
    return unicodedata.normalize("NFKC", "".join(map(_fold_character, text)))


def _fold_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd" or character == _MINUS:
        return "-"
    if character in _APOSTROPHES:
        return "'"
    if category == "Cf":  # a mark of direction, a soft hyphen
        return ""
    return "i" if character == "İ" else character.lower()  # lower() would make of it two characters


def split(day: datetime.date) -> Split:
    """Tell to which split a calendar day belongs in every language: about 80, 10 and 10 % of the days.

    It depends on a hash of the day alone, so it is the same on every machine and for every task.
    """
    digest = hashlib.sha256(day.isoformat().encode()).digest()
    return SPLITS[max(0, int.from_bytes(digest[:4]) % 10 - 7)]


@cache
def days_of(part: Split) -> tuple[datetime.date, ...]:
    """List the days of a split, from `FIRST_DAY` to `LAST_DAY`."""
    ordinals = range(FIRST_DAY.toordinal(), LAST_DAY.toordinal() + 1)
    return tuple(day for day in map(datetime.date.fromordinal, ordinals) if split(day) == part)


class Part(NamedTuple):
    """A piece of a date: texts of a calendar field, from its first year, month, day or Monday; or fixed text."""

    field: str
    texts: tuple[str, ...]


class Form(NamedTuple):
    """One way to write a date: a locale, a pattern in CLDR's letters, and the normalised pieces these come to."""

    locale: str
    pattern: str
    parts: tuple[Part, ...]


@cache
def forms(locale: str) -> tuple[Form, ...]:
    """List the forms of a locale, each once: CLDR's formats and skeletons, then the everyday ones.

    Raises
    ------
    ValueError
        It is none of `LOCALES`, for which alone no form is known to be ambiguous.
    """
    if locale not in LOCALES:
        raise ValueError(f"locale: expected one of {', '.join(LOCALES)}, got {locale!r}")
    from babel import Locale  # here and below only: reading dates with a stored model needs no Babel

    babel_locale = Locale.parse(locale)
    skeletons = babel_locale.datetime_skeletons
    patterns = [babel_locale.date_formats[name].pattern for name in FORMATS]
    patterns += [skeletons[name].pattern for name in SKELETONS if name in skeletons]
    patterns += EVERYDAY.get(locale, ())
    different: dict[tuple[Part, ...], str] = {}
    for pattern in patterns:
        different.setdefault(_parts(pattern, locale), pattern)
    return tuple(Form(locale, pattern, parts) for parts, pattern in different.items())


def _parts(pattern: str, locale: str) -> tuple[Part, ...]:
    from babel.dates import DateTimeFormat, tokenize_pattern

    years = [datetime.date(year, 1, 1) for year in range(FIRST_DAY.year, LAST_DAY.year + 1)]
    months = [datetime.date(2001, month, 1) for month in range(1, 13)]
    days = [datetime.date(2001, 1, day) for day in range(1, 32)]  # the first of them a Monday
    fields = {
        "y": ("year", years),
        **dict.fromkeys("ML", ("month", months)),
        "d": ("day", days),
        **dict.fromkeys("Ec", ("weekday", days[:7])),
    }
    parts = []
    for _, value in tokenize_pattern(pattern.replace("do", "d")):
        if isinstance(value, str):
            parts.append(Part("", (_fold(value),)))
        else:
            letter, repeat = value
            field, samples = fields[letter]
            texts = [DateTimeFormat(sample, locale)[letter * repeat] for sample in samples]
            if field == "day" and "do" in pattern:
                texts = ORDINALS[locale[:2]]
            parts.append(Part(field, tuple(map(_fold, texts))))
    return tuple(parts)


@dataclass(frozen=True)
class DateExample(Example):
    """Dates in a row, and what they were made from.

    Attributes
    ----------
    spans
        For each character of the target the (start, stop) of what it is read from in the source: the year, month
        or day there; None for dashes and spaces.
    days
        The calendar days, in order.
    locales, patterns
        How each of them is written.
    """

    source: str
    target: str
    spans: tuple[Span | None, ...]
    days: tuple[datetime.date, ...]
    locales: tuple[str, ...]
    patterns: tuple[str, ...]


def write(days: Sequence[datetime.date], ways: Sequence[Form]) -> DateExample:
    """Write each day in the form at its place, all in a row.

    Raises
    ------
    ValueError
        A day is not in `FIRST_DAY` … `LAST_DAY`, or there are not as many forms as days.
    """
    for day in days:
        if not FIRST_DAY <= day <= LAST_DAY:
            raise ValueError(f"days: expected {FIRST_DAY} … {LAST_DAY}, got {day}")
    texts: list[str] = []
    spans: list[Span | None] = []
    start = 0
    for day, form in zip(days, ways, strict=True):
        text, found = _write_one(day, form, start)
        texts.append(text)
        between = [None] if spans else []
        spans += [*between, *[found["year"]] * 4, None, *[found["month"]] * 2, None, *[found["day"]] * 2]
        start += len(text) + len(SEPARATOR)
    return DateExample(
        source=SEPARATOR.join(texts),
        target=" ".join(day.isoformat() for day in days),
        spans=tuple(spans),
        days=tuple(days),
        locales=tuple(form.locale for form in ways),
        patterns=tuple(form.pattern for form in ways),
    )


def _write_one(day: datetime.date, form: Form, start: int) -> tuple[str, dict[str, Span]]:
    """Write a day; tell where its fields stand when its first character stands at `start`."""
    year, month, weekday = day.year - FIRST_DAY.year, day.month - 1, day.weekday()
    index = {"": 0, "year": year, "month": month, "day": day.day - 1, "weekday": weekday}
    texts: list[str] = []
    spans: dict[str, Span] = {}
    for field, choices in form.parts:
        texts.append(text := choices[index[field]])
        spans[field] = (start, start := start + len(text))
    return "".join(texts), spans


class Dates:
    """Dates of 1950 … 2049 in many languages, to be written as ``2026-11-23``.

    A calendar day belongs to one split in all languages, so no date of the test has been seen in any.

    Parameters
    ----------
    dates_in_a_row
        Dates in one source, " ; " between them, and in one target, a space between them: the dial of length.
        Sources have on average 16, 35, 74, 151 characters for 1, 2, 4, 8 of them.
    locales
        Some of `LOCALES`.
    symbols
        All characters of the source; None takes those of the locales' forms. A stored model has its own, which
        another version of Babel does not change.

    Raises
    ------
    ValueError
        `dates_in_a_row` is below 1, or the locales are none or unknown.
    """

    name = "dates"

    def __init__(
        self,
        dates_in_a_row: int = 1,
        locales: Sequence[str] = LOCALES,
        symbols: Sequence[str] | None = None,
    ) -> None:
        if dates_in_a_row < 1:
            raise ValueError(f"dates_in_a_row: expected an integer ≥ 1, got {dates_in_a_row}")
        if not locales or not set(locales) <= set(LOCALES):
            got = ", ".join(sorted(set(locales) - set(LOCALES))) or "none"
            raise ValueError(f"locales: expected some of {', '.join(LOCALES)}, got {got}")
        self.dates_in_a_row, self.locales = dates_in_a_row, tuple(locales)
        self.source_vocabulary = Vocabulary(symbols_of(locales) if symbols is None else symbols)
        self.target_vocabulary = Vocabulary("0123456789- ")
        self.max_target_length = 11 * dates_in_a_row  # ten characters each, and a space or END

    def settings(self) -> dict[str, Any]:
        """Tell what rebuilds the task."""
        return {
            "dates_in_a_row": self.dates_in_a_row,
            "locales": list(self.locales),
            "symbols": list(self.source_vocabulary.symbols),
        }

    def sample(self, count: int, generator: random.Random, split: Split = "train") -> list[DateExample]:
        """Draw days of a split, and for each one of all forms of all locales, both uniformly.

        Raises
        ------
        ValueError
            `count` is below 1, or there is no such split.
        """
        check_sampling(count, split)
        days, ways = days_of(split), [form for locale in self.locales for form in forms(locale)]
        k = self.dates_in_a_row
        return [write(generator.choices(days, k=k), generator.choices(ways, k=k)) for _ in range(count)]

    def parse(self, text: str) -> str:
        """Make a source from typed text, normalised.

        Raises
        ------
        ValueError
            It does not hold as many dates as the task has in a row, is too long, or has an unknown character.
        """
        dates = [date.strip() for date in normalise(text).split(SEPARATOR.strip()) if date.strip()]
        if len(dates) != self.dates_in_a_row:
            expected = "1 date" if self.dates_in_a_row == 1 else f"{self.dates_in_a_row} dates with ; between them"
            raise ValueError(f"text: expected {expected}, got {len(dates) or 'none'}")
        source = SEPARATOR.join(dates)
        limit = (LONGEST + len(SEPARATOR)) * self.dates_in_a_row - len(SEPARATOR)
        if len(source) > limit:
            raise ValueError(f"text: expected at most {limit} characters, got {len(source)}")
        self.source_vocabulary.encode(source)
        return source

    def text(self, target: Sequence[str]) -> str:
        """Write a target as a string."""
        return "".join(target)


def symbols_of(locales: Iterable[str]) -> list[str]:
    """List all characters that a source in these locales can have, in the order of Unicode."""
    texts = [text for locale in locales for form in forms(locale) for part in form.parts for text in part.texts]
    return sorted(set("".join([SEPARATOR, *texts])))
