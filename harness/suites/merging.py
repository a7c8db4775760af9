"""Merging of suite files (``extends``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.suites.toml_lines import Listing, TomlLine, TomlTable

#: Lists whose entries are merged one by one; other lists are replaced.
MERGED = ("targets", "methods")


def merge(base: TomlTable, extension: TomlTable) -> TomlTable:
    """Merge ``extension`` into ``base``, key by key.

    Tables are merged, other values are replaced. Entries of ``methods`` are merged with the entry of the same name and
    label, and entries of ``targets`` with the entry of the same backbone and site. Entries without a counterpart are
    appended. With ``replaces = ["targets"]`` in ``extension``, its list replaces that of ``base`` instead.
    """
    return _merge(base, extension, frozenset(extension.get("replaces", ())))


def _merge(base: TomlTable, extension: TomlTable, replaced: frozenset[str]) -> TomlTable:
    values, places = dict(base), dict(base.places)
    for key, value in extension.items():
        base_value = values.get(key)
        if isinstance(base_value, TomlTable) and isinstance(value, TomlTable):
            values[key] = _merge(base_value, value, frozenset())
        elif key in MERGED and key not in replaced and isinstance(base_value, Listing) and isinstance(value, Listing):
            values[key] = _merge_entries(base_value, value, _SAME[key])
        else:
            values[key] = value
        places[key] = extension.places[key]
    return TomlTable(values, places, extension.place)


def _merge_entries(base: Listing, extension: Listing, same: Callable[[Any, Any], bool]) -> Listing:
    values: list[Any] = list(base)
    places: list[TomlLine] = list(base.places)
    for value, place in zip(extension, extension.places, strict=True):
        matches = [number for number, other in enumerate(values[: len(base)]) if _same_tables(value, other, same)]
        if len(matches) == 1:
            values[matches[0]] = _merge(values[matches[0]], value, frozenset())
            places[matches[0]] = place
        else:
            values.append(value)
            places.append(place)
    return Listing(values, places)


def _same_tables(one: Any, other: Any, same: Callable[[Any, Any], bool]) -> bool:
    return isinstance(one, TomlTable) and isinstance(other, TomlTable) and same(one, other)


def _same_target(one: Any, other: Any) -> bool:
    # A target without a site matches any target of the backbone; `_merge_entries` requires that there is only one.
    sites = one.get("site"), other.get("site")
    return one.get("backbone") == other.get("backbone") and (sites[0] is None or sites[0] == sites[1])


def _same_method(one: Any, other: Any) -> bool:
    return (one.get("name"), one.get("label")) == (other.get("name"), other.get("label"))


_SAME: dict[str, Callable[[Any, Any], bool]] = {"targets": _same_target, "methods": _same_method}
