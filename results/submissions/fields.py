"""Fields of the documents of a submission: which there are, and what each may hold."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from results.store.json_columns import SHAPES, fitted
from results.store.records import DIRECTIONS
from results.store.text_limits import MAX_NAME
from results.submissions.paths import is_hash
from results.visible_text import visible

#: Version of the form of the documents.
FORMAT = 1
#: Most characters of a sentence, such as a note.
MAX_SENTENCE = 20_000
#: Earliest and latest time of a result.
_FIRST, _LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_METRIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")


class Field(NamedTuple):
    """One field: what it may hold, and whether it may be missing."""

    check: Callable[[Any], str]
    """value -> what it must be, in words; "" if it is right"""
    required: bool = False


def _text(limit: int, *, lines: bool = False) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            return "text"
        if len(value) > limit:
            return f"at most {limit} characters"
        return "" if visible(value, keep="\n\t" if lines else "") == value else "text without hidden control characters"

    return check


def _name(value: Any) -> str:
    return _text(MAX_NAME)(value) if value else "a text that is not empty"


def _hash(value: Any) -> str:
    return "" if isinstance(value, str) and is_hash(value) else "a hash of 16 to 64 hexadecimal digits"


def _whole(bits: int, least: int | None = None) -> Callable[[Any], str]:
    low, high = -(2 ** (bits - 1)) if least is None else least, 2 ** (bits - 1) - 1

    def check(value: Any) -> str:
        holds = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if holds else f"a whole number from {low} to {high}"

    return check


def _number(value: Any) -> str:
    if isinstance(value, str):
        return "" if value in _NOT_FINITE else f"a number, or one of {', '.join(_NOT_FINITE)} as text"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "" if is_number and math.isfinite(value) else "a finite number"


def _seconds(value: Any) -> str:
    return _number(value) or ("" if not isinstance(value, str) and value >= 0 else "a number of at least 0")


def _time(value: Any) -> str:
    wanted = "a time in UTC from 2020 to 2199, as 2026-01-02T03:04:05.000006+00:00"
    if not isinstance(value, str) or len(value) > 40:
        return wanted
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return wanted
    is_utc = moment.tzinfo is not None and moment.astimezone(UTC).isoformat() == value
    return "" if is_utc and _FIRST <= moment < _LAST else wanted


def _one_of(*allowed: str) -> Callable[[Any], str]:
    return lambda value: "" if value in allowed else f"one of {', '.join(allowed)}"


def _json(column: str) -> Callable[[Any], str]:
    """Return the check of a JSON column of the store: its shape, and texts without hidden characters."""
    shape = SHAPES[column]

    def check(value: Any) -> str:
        if not fitted(value, shape)[1]:
            return "a list, with items of one kind" if isinstance(shape, list) else "an object of the known form"
        return next((wanted for text in texts_in(value) if (wanted := _text(MAX_SENTENCE, lines=True)(text))), "")

    return check


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts of JSON content, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def _metric(value: Any) -> str:
    wanted = "the name of a metric: letters, digits, low lines, dots and hyphens"
    return "" if isinstance(value, str) and _METRIC.match(value) else wanted


_NAME, _SENTENCE = Field(_name), Field(_text(MAX_SENTENCE, lines=True))

#: Columns of the table `cells` in the object "cell" of a cell's document.
CELL: Mapping[str, Field] = {
    **{name: Field(_name, True) for name in ("backbone", "site", "method", "label", "config_id")},
    **dict.fromkeys(("suite", "backbone_title", "dataset", "probing_fingerprint"), _NAME),
    **dict.fromkeys(("evaluation_fingerprint", "device", "dtype", "fit_id"), _NAME),
    **{name: Field(_json(name)) for name in ("config", "claims", "notes", "environment")},
    **{name: Field(_whole(64)) for name in ("token_seed", "init_seed")},
    **{name: Field(_whole(32, 0)) for name in ("d_in", "d_out", "n_units")},
    **{name: Field(_seconds) for name in ("seconds", "fit_seconds")},
    "started_at": Field(_time),
}
#: Columns of the table `runs` in the object "run": those that do not change while the run goes on.
RUN: Mapping[str, Field] = {
    "run_id": Field(_name, True),
    "started_at": Field(_time, True),
    **dict.fromkeys(("suite", "code_revision", "device"), _NAME),
    "command": _SENTENCE,
    "versions": Field(_json("versions")),
}
_MEASUREMENT: Mapping[str, Field] = {
    "params": Field(_json("params")),
    "value": Field(_number),
    "uncertainty": Field(_number),
    "uncertainty_kind": _NAME,
    "n": Field(_whole(64, 0)),
    "unit": Field(_text(MAX_NAME)),
    "direction": Field(_one_of(*DIRECTIONS), True),
    "details": Field(_json("details")),
}
#: Columns of the table `scores` in an object of "scores", whose key names metric and version.
SCORE: Mapping[str, Field] = {
    **_MEASUREMENT,
    "evaluation_fingerprint": _NAME,
    "panel": _NAME,
    "seconds": Field(_seconds),
}
#: Columns of the table `group_scores` in an object of "scores".
GROUP_SCORE: Mapping[str, Field] = {**_MEASUREMENT, "measured_at": Field(_time, True)}
GROUP: Mapping[str, Field] = {
    "config_id": Field(_name, True),
    "label": Field(_name, True),
    "cell_ids": Field(_json("cell_ids"), True),
}
IMAGE: Mapping[str, Field] = {
    "index": Field(_whole(32, 0), True),
    "name": _NAME,
    "label": Field(_whole(32)),
    "class_name": Field(_text(MAX_NAME)),
}
TOURNAMENT: Mapping[str, Field] = {
    "panel": Field(_name, True),
    "prompt_version": Field(_name, True),
    "judged_at": Field(_time, True),
    **{name: Field(_json(name), True) for name in ("judges", "settings")},
    **{name: Field(_json(name)) for name in ("health", "pairwise", "notes")},
    **{name: Field(_whole(64, 0)) for name in ("n_comparisons", "n_ties", "n_missing", "n_shared")},
    "agreement": Field(_number),
}
WIN_RATE: Mapping[str, Field] = {
    "config_id": Field(_name, True),
    "label": Field(_name, True),
    "cell_ids": Field(_json("cell_ids"), True),
    **{name: Field(_number) for name in ("win_rate", "ci_low", "ci_high", "strength", "new_low", "new_high")},
    **{name: Field(_whole(64, 0)) for name in ("n", "wins", "ties", "n_units")},
    **{name: Field(_whole(32, 0)) for name in ("rank", "rank_low", "rank_high")},
}
TABLE: Mapping[str, Field] = {"rows": Field(_whole(64, 0), True), "sha256": Field(_hash, True)}
#: What the sender says of a submission.
SUBMISSION: Mapping[str, Field] = {"note": _SENTENCE, "contact": Field(_text(MAX_NAME)), "program": _NAME}

METRIC, HASH, IDENTITY, SENTENCE = Field(_metric), Field(_hash, True), Field(_json("identity"), True), _SENTENCE


def wrong_fields(content: Any, fields: Mapping[str, Field], at: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of an object that are wrong, each with its reason.

    Args:
        at: name of the object, which precedes the names of its fields.
    """
    if not isinstance(content, Mapping):
        yield at, f"is {seen(content)}; it must be an object."
        return
    for name, field in fields.items():
        if content.get(name) is not None:
            if wanted := field.check(content[name]):
                yield f"{at}.{name}", f"is {seen(content[name])}; it must be {wanted}."
        elif field.required or name in content:
            yield f"{at}.{name}", "is null; leave it out instead." if name in content else "is missing."
    for name in content:
        if name not in fields:
            yield f"{at}.{seen(name)}", f"is unknown; the fields are {', '.join(sorted(fields))}."


def seen(value: Any) -> str:
    """Return a value for a sentence: short, on one line, with hidden characters escaped."""
    text = visible(value, keep="") if isinstance(value, str) else ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
