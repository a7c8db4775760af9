"""A comparison in words: the difference that a reader asks for first, and which other quantities differ."""

from __future__ import annotations

from collections.abc import Sequence

from results.boards.lead_columns import column_name, unit_text
from results.boards.ranking import HEADLINE
from results.comparison.headline import difference_numbers
from results.comparison.paired import Comparison, Difference
from results.visible_text import names_text

#: Names of quantities in one sentence.
_MOST_NAMES = 4


def comparison_sentence(comparison: Comparison) -> str:
    """Return a comparison in one or two sentences, with the interval of its lead difference."""
    return " ".join(filter(None, comparison_sentences(comparison)))


def comparison_sentences(comparison: Comparison) -> tuple[str, str]:
    """Return the sentence on the lead difference and the one on the others, which may be empty.

    The lead is the MS score if it is tested, else the first difference that is significant, else the first tested one.
    """
    names, flagged = _names(comparison)
    tested = [difference for difference in comparison.differences if difference.p is not None]
    if not tested:
        return _untested(comparison, flagged), ""
    lead = _lead(tested)
    others = [difference for difference in tested if difference is not lead]
    a, b = flagged
    name = column_name(lead.column)
    if lead.better is None:
        text, _ = difference_numbers(lead)
        first = f"{a} and {b} do not differ significantly in {name} ({text}{_interval(lead)}{_unit(lead)})"
        nothing = "nor in anything else"
    else:
        size, ends = rounded_size(lead)
        more = "more" if lead.difference > 0 else "less"
        note = " (less is better)" if lead.column.direction == "lower" else ""
        first = f"{a} has {size}{ends}{_unit(lead)} {more} {name} than {b}{note}"
        nothing = "nothing else differs significantly"
    n_different = sum(other.better is not None for other in others)
    if others and not n_different:
        return f"{first}; {nothing} ({len(others)} more tested).", ""
    return f"{first}.", _others(others, names)


def rounded_size(difference: Difference) -> tuple[str, str]:
    """Return the size of a difference and its interval without signs if all of it has one sign: "4", " [3, 5]"."""
    text, ends = difference_numbers(difference)
    if ends is None:
        return text.lstrip("+-"), ""
    low, high = ends
    if low.startswith("-") == high.startswith("-"):
        low, high = sorted((low.lstrip("-"), high.lstrip("-")), key=float)
    return text.lstrip("+-"), f" [{low}, {high}]"


def _lead(tested: Sequence[Difference]) -> Difference:
    headline = [difference for metric in HEADLINE for difference in tested if difference.column.metric == metric]
    significant = [difference for difference in tested if difference.better is not None]
    return (headline or significant or list(tested))[0]


def _others(others: Sequence[Difference], names: tuple[str, str]) -> str:
    if not others:
        return "Nothing else is tested."
    sides = [[column_name(other.column) for other in others if other.better == side] for side in ("a", "b")]
    parts = [
        f"{name} is better in {names_text(metrics, _MOST_NAMES)}"
        for name, metrics in zip(names, sides, strict=True)
        if metrics
    ]
    if n_equal := len(others) - sum(map(len, sides)):
        parts.append(f"{n_equal} {'does' if n_equal == 1 else 'do'} not differ significantly")
    return f"Of {len(others)} more tested, {'; '.join(parts)}."


def _names(comparison: Comparison) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the titles of both rows, and the same with flags."""
    a, b = comparison.a, comparison.b
    plain, flagged = (a.title, b.title), (a.title_with_flags, b.title_with_flags)
    if a.title != b.title:
        return plain, flagged
    return (f"{a.title} (A)", f"{b.title} (B)"), (f"{flagged[0]} (A)", f"{flagged[1]} (B)")


def _untested(comparison: Comparison, names: tuple[str, str]) -> str:
    both = " and ".join(names)
    if len(comparison.seeds) == 1:
        return f"One pair of seeds cannot tell whether {both} differ: run more token seeds of both."
    return f"No quantity of {both} can be tested."


def _interval(difference: Difference) -> str:
    _, ends = difference_numbers(difference)
    return "" if ends is None else f" [{', '.join(ends)}]"


def _unit(difference: Difference) -> str:
    if difference.column.unit == "fraction":
        return " points"
    unit = unit_text(difference.column)
    return f" {unit}" if unit else ""
