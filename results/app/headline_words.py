"""Words of a headline on a page: who is ahead of whom, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from results.boards.lead_columns import column_name, unit_text
from results.boards.ranking import BY_CONSTRUCTION
from results.comparison.headline import (
    BACKBONE_ROLE,
    CONTROL,
    Contrast,
    both_values,
    difference_numbers,
    is_separable,
    side_values,
)
from results.minus_sign import with_minus

# Role of a contrast -> the other row in a sentence; others are named after their role.
_WITH_ARTICLE = {BACKBONE_ROLE: "the backbone", CONTROL: "its random control"}


def lead_sentence(contrast: Contrast) -> str:
    """Return the contrast in one sentence: "ELUDe is 2.3 points of MS above chance ahead of the best SAE, ..."."""
    focus, other = contrast.comparison.a.title_with_flags, contrast.comparison.b.title_with_flags
    role = _named(contrast)
    is_named = contrast.role != BACKBONE_ROLE
    rival = f"{role}, {other}" if is_named else role
    text, ends = difference_numbers(contrast.score)
    name = column_name(contrast.score.column)
    points = "points" if contrast.score.column.unit == "fraction" else unit_text(contrast.score.column) or "points"
    if ends is None:
        why = "one pair of seeds, so no interval" if contrast.score.n_seeds == 1 else "no interval"
        return f"{focus} has {with_minus(text)} {points} of {name} against {rival} ({why})."
    interval = f"95 % interval {with_minus(ends[0])} to {with_minus(ends[1])}"
    if not is_separable(contrast.score):
        both = f"{focus} and {rival}{',' if is_named else ''}"
        return f"{both} cannot be told apart in {name}: {with_minus(text)} {points}, {interval}."
    side = "ahead of" if contrast.score.difference > 0 else "behind"
    return f"{focus} is {text.lstrip('+-')} {points} of {name} {side} {rival} ({interval})."


def side_sentence(contrast: Contrast) -> str:
    """Return what the score costs, both values side by side; empty if there is nothing to say."""
    values: list[str] = []
    for difference in side_values(contrast.role, contrast.comparison):
        text = both_values(difference)
        # Said once: the others of these follow from it.
        is_given = contrast.comparison.a.is_lossless and difference.column.metric in BY_CONSTRUCTION
        values.append(text.replace(" vs ", " (by construction) vs ", 1) if is_given and not values else text)
    names = f"{contrast.comparison.a.title} vs {contrast.comparison.b.title}"
    return with_minus(f"{names}: {' · '.join(values)}") if values else ""


def reference_sentence(contrasts: Sequence[Contrast]) -> str:
    """Return the differences to controls, by the names that the plot has for them; the smallest one first."""
    parts = []
    for contrast in sorted(contrasts, key=lambda contrast: contrast.score.difference):
        text, ends = difference_numbers(contrast.score)
        spread = f" [{with_minus(ends[0])}, {with_minus(ends[1])}]" if ends else ""
        parts.append(f"{contrast.comparison.b.title} {with_minus(text)}{spread}")
    return f"{contrasts[0].comparison.a.title} against controls: {' · '.join(parts)} points" if parts else ""


def _named(contrast: Contrast) -> str:
    return _WITH_ARTICLE.get(contrast.role, f"the {contrast.role}")
