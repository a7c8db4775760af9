"""Versions of the stability scores: which of them count every atom of a dictionary. Needs only the standard library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Record = TypeVar("Record", bound=Mapping[Any, Any])

#: First version of ``stability``, ``stability_writer`` and ``token_sensitivity`` that counts every atom, as the ELUDe
#: paper does (App. B.3). Version 1 leaves out units that are silent on the evaluation split.
FULL_DECODER_VERSION = 2


def counts_every_atom(row: Mapping[str, Any]) -> bool:
    """Return whether a stability score counts silent units and atoms without a partner, as in the ELUDe paper."""
    return row["metric"] != "stability_alive" and int(row["version"]) >= FULL_DECODER_VERSION


def without_superseded(rows: Sequence[Record]) -> list[Record]:
    """Return the group scores without those whose group has a newer version of the same metric."""
    newest: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["group_id"], row["metric"])
        newest[key] = max(newest.get(key, 0), row["version"])
    return [row for row in rows if row["version"] == newest[row["group_id"], row["metric"]]]
