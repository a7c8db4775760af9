"""Group of a row (method, control or virtual), and the families whose chance level a method is.

Needs only the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

GROUPS = ("method", "control", "virtual")
"""Groups in the order in which they are shown; rows of different groups are not ranked together."""

#: Heading of a group below the first.
GROUP_HEADINGS: Mapping[str, str] = {
    "control": "controls: for comparison, not ranked",
    "virtual": "virtual: units are not part of the model, ranked apart",
}

# Cells that were written before families were recorded. Names that end in "_sae" are of the family "sae".
_FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("identity", "random_split", "random_dictionary", "frozen_decoder_sae"), "control"),
    **dict.fromkeys(("pca", "ica", "nmf", "kmeans"), "control"),
    **dict.fromkeys(("elude", "dpcicnn"), "split"),
    **dict.fromkeys(("pure", "dnrwcv"), "virtual split"),
    "transcoder": "transcoder",
    "skip_transcoder": "transcoder",
}
_CONTROL_FOR: Mapping[str, tuple[str, ...]] = {
    "random_split": ("split", "virtual split"),
    "random_dictionary": ("sae", "transcoder", "dictionary"),
    "frozen_decoder_sae": ("sae", "transcoder"),
}


class Membership(NamedTuple):
    """Claims of a method that decide with which rows it is compared; the fields are those of `Row`."""

    group: str
    family: str | None
    control_for: tuple[str, ...]
    is_lossless: bool


def membership(cell: Mapping[str, Any]) -> Membership:
    """Return the membership of a row of `Store.cells()`: from its claims, or by its method's name if they lack it."""
    claims: Mapping[str, Any] = cell["claims"] or {}
    method = str(cell["method"])
    family = claims.get("family") or _FAMILIES.get(method) or ("sae" if method.endswith("_sae") else None)
    control_for = claims.get("control_for")
    if not isinstance(control_for, (list, tuple)):
        control_for = _CONTROL_FOR.get(method, ())
    is_virtual = bool(claims.get("virtual"))
    group = "virtual" if is_virtual else "control" if family == "control" else "method"
    return Membership(group, family, tuple(map(str, control_for)), bool(claims.get("lossless")))
