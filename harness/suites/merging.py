"""Merging of suite files (``extends``)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from harness.suites.toml_lines import TomlList, TomlTable


def merge(base: TomlTable, extension: TomlTable) -> TomlTable:
    """Merge ``extension`` into ``base``, key by key.

    Tables are merged, other values are replaced. Entries of ``methods`` are merged with the entry of the same name and
    label, and entries of ``targets`` with the entry of the same backbone and site. Entries without a counterpart are
    appended. With ``replaces = ["targets"]`` in ``extension``, its list replaces that of ``base`` instead.
    """
    return _merge(base, extension, extension.get("replaces", ()))


def _merge(base: TomlTable, extension: TomlTable, replaced: Collection[str]) -> TomlTable:
    values = dict(base)
    for key, value in extension.items():
        base_value = values.get(key)
        if isinstance(base_value, TomlTable) and isinstance(value, TomlTable):
            values[key] = _merge(base_value, value, ())
        elif key in MERGED and key not in replaced and isinstance(base_value, TomlList) and isinstance(value, TomlList):
            values[key] = _merge_entries(base_value, value, MERGED[key])
        else:
            values[key] = value
    return TomlTable(values, base.value_lines | extension.value_lines, extension.line)


def _merge_entries(base: TomlList, extension: TomlList, same: Callable[[Any, Any], bool]) -> TomlList:
    values, lines = list(base), list(base.value_lines)
    for entry, line in zip(extension, extension.value_lines, strict=True):
        matches = [
            number
            for number, other in enumerate(values[: len(base)])
            if isinstance(entry, TomlTable) and isinstance(other, TomlTable) and same(entry, other)
        ]
        if len(matches) == 1:
            values[matches[0]] = _merge(values[matches[0]], entry, ())
            lines[matches[0]] = line
        else:
            values.append(entry)
            lines.append(line)
    return TomlList(values, lines)


def _same_target(target: Any, other: Any) -> bool:
    # A target without a site matches any target of the backbone; `_merge_entries` requires that there is only one.
    site = target.get("site")
    return target.get("backbone") == other.get("backbone") and site in (None, other.get("site"))


def _same_method(entry: Any, other: Any) -> bool:
    return (entry.get("name"), entry.get("label")) == (other.get("name"), other.get("label"))


#: List whose entries are merged one by one -> test of two entries; other lists are replaced.
MERGED: dict[str, Callable[[Any, Any], bool]] = {"targets": _same_target, "methods": _same_method}
