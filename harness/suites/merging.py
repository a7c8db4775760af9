"""``extends``: the values of one suite laid over those of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.suites.toml_lines import Listing, Place, Table

#: Lists whose entries are merged one by one; other lists are values and are replaced.
MERGED = ("targets", "methods")


def merge(base: Table, own: Table) -> Table:
    """``own`` over ``base``, key by key.

    Tables are merged, other values replaced. Entries of ``methods`` are merged with the one of the same label (or name,
    where neither has a label), and entries of ``targets`` with the one of the same backbone and site; what has no
    counterpart is added at the end. ``replaces = ["targets"]`` in ``own`` takes its list instead.
    """
    return _merge(base, own, frozenset(own.get("replaces", ())))


def _merge(base: Table, own: Table, replaced: frozenset[str]) -> Table:
    values, places = dict(base), dict(base.places)
    for key, value in own.items():
        before = values.get(key)
        if isinstance(before, Table) and isinstance(value, Table):
            values[key] = _merge(before, value, frozenset())
        elif key in MERGED and key not in replaced and isinstance(before, Listing) and isinstance(value, Listing):
            values[key] = _merge_entries(before, value, _SAME[key])
        else:
            values[key] = value
        places[key] = own.places[key]
    return Table(values, places, own.place)


def _merge_entries(base: Listing, own: Listing, same: Callable[[Any, Any], bool]) -> Listing:
    values: list[Any] = list(base)
    places: list[Place] = list(base.places)
    for value, place in zip(own, own.places, strict=True):
        found = [number for number, other in enumerate(values[: len(base)]) if _tables(value, other, same)]
        if len(found) == 1:
            values[found[0]] = _merge(values[found[0]], value, frozenset())
            places[found[0]] = place
        else:
            values.append(value)
            places.append(place)
    return Listing(values, places)


def _tables(one: Any, other: Any, same: Callable[[Any, Any], bool]) -> bool:
    return isinstance(one, Table) and isinstance(other, Table) and same(one, other)


def _same_target(one: Any, other: Any) -> bool:
    # A target without a site means the suite's only target of that backbone.
    sites = one.get("site"), other.get("site")
    return one.get("backbone") == other.get("backbone") and (sites[0] is None or sites[0] == sites[1])


def _same_method(one: Any, other: Any) -> bool:
    return (one.get("name"), one.get("label")) == (other.get("name"), other.get("label"))


_SAME: dict[str, Callable[[Any, Any], bool]] = {"targets": _same_target, "methods": _same_method}
