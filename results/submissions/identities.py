"""Recomputation of what a cell's identity determines: its id, and the columns by which boards group and average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from results.store.canonical import canonical_json, identity_hash, short_hash

#: Digits of a cell's id.
ID_LENGTH = 16
#: Parts of the identity of every cell that a run makes.
_PARTS = ("backbone", "cell", "evaluation", "init_seed", "method", "metrics", "probing", "site", "token_seed")


def determined(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return column -> value of the columns of a cell that its identity determines.

    The identity has all parts that `identity_problems` requires.
    """
    evaluation = {name: value for name, value in identity["evaluation"].items() if name != "top_images"}
    return {
        **{name: identity[name] for name in ("backbone", "site", "token_seed", "init_seed")},
        "method": identity["method"]["name"],
        "config": identity["method"]["config"],
        "config_id": identity_hash({"cell": identity["cell"], **identity["method"]}),
        "evaluation_fingerprint": identity_hash(evaluation),
        "probing_fingerprint": identity_hash(identity["probing"]),
    }


def identity_problems(cell_id: str, cell: Mapping[str, Any], identity: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a cell that contradict its identity, each with its reason."""
    missing = [name for name in _PARTS if name not in identity]
    nested = {name: identity.get(name) for name in ("evaluation", "method", "metrics", "probing")}
    if missing or not all(isinstance(part, Mapping) for part in nested.values()):
        yield (
            "identity",
            f"lacks {', '.join(missing) or 'an object'}: only a cell that `harness run` made can be submitted.",
        )
        return
    if not {"name", "config"} <= set(identity["method"]):
        yield "identity.method", "lacks name or config."
        return
    if (hashed := identity_hash(identity)) != cell_id:
        yield "cell_id", f"is {cell_id}, and the hash of the identity is {hashed}."
    for column, expected in determined(identity).items():
        value = cell.get(column, {} if column == "config" else None)
        if canonical_json(value) != canonical_json(expected):
            yield f"cell.{column}", f"is {_short(value)}, and its identity says {_short(expected)}."


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def group_hashes(cell_ids: list[str]) -> set[str]:
    """Return the possible ids of a group of cells, which differ in their init seed or in their token seed."""
    return {short_hash([varies, sorted(cell_ids)]) for varies in ("init_seed", "token_seed")}
