"""Sentences about invalid settings, from the errors of pydantic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

#: Type of a pydantic error -> key of the bound in its context, and the bound in words.
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
#: Longest value that is quoted in full.
_LENGTH = 80


def problems_of(error: ValidationError) -> list[Any]:
    """Return pydantic's problems, without those that only follow from others.

    Pydantic also reports a list as too short if its entries are invalid; these have their own problems.
    """
    problems: list[Any] = error.errors(include_url=False)
    inside = {problem["loc"][:length] for problem in problems for length in range(len(problem["loc"]))}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inside]


def reason(problem: Any) -> str:
    """Return what is wrong with a value, without a full stop: "it must be at most 100000"."""
    kind, context = problem["type"], problem.get("ctx") or {}
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"it must be {words} {number_text(context[key])}"
    if kind == "tuple_type":
        return "it must be a list, in square brackets"
    if kind == "too_short":
        least = context["min_length"]
        return f"it needs at least {least} entr{'y' if least == 1 else 'ies'}"
    if kind == "too_long":
        return f"it must have at most {context['max_length']} entries"
    message = str(problem["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{message[:1].lower()}{message[1:]}"


def number_text(number: float) -> str:
    """Return a bound as it would be written in a suite: whole numbers in full, others with few digits."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else f"{number:g}"


def quoted(value: Any) -> str:
    """Return the value as Python writes it, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python converts
        return "a number of thousands of digits"
    except RecursionError:
        return "values that are nested too deeply"
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 3]}..."
