"""Result of a check, and requirement of a suite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple


class Check(NamedTuple):
    """Result of checking one requirement."""

    what: str
    ok: bool
    needed: bool
    """False if only some uses need it"""
    found: str
    remedy: str = ""


class Need(NamedTuple):
    """Requirement of a suite, with the part of the suite that cannot run without it."""

    check: Check
    stops: Literal["all", "backbone", "head", "method", "target", "nothing"]
    """the part that cannot run if the check fails"""
    key: str = ""
    """key of the backbone (:func:`harness.doctor.needs.backbone_key`), head (``head_key``), method (``method_key``)
    or target (:func:`harness.doctor.workload.target_key`) that it stops"""
    without: str = ""
    """the part that still runs, in words, if nothing is stopped"""


def grouped(checks: Iterable[Check]) -> list[Check]:
    """Merge checks with the same result into one line, for display.

    ``weights of A`` and ``weights of B`` become ``weights of A, B``, and A becomes NAME in the remedy.
    """
    groups: dict[Any, list[Check]] = {}
    for check in checks:
        kind, of, name = check.what.rpartition(" of ")
        remedy = check.remedy.replace(name, "NAME") if of else check.remedy
        key = (kind, check.ok, check.needed, check.found, remedy) if of else check
        groups.setdefault(key, []).append(check)
    merged = []
    for (first, *others), key in zip(groups.values(), groups, strict=True):
        if others:
            names = ", ".join(check.what.rpartition(" of ")[2] for check in (first, *others))
            first = first._replace(what=f"{key[0]} of {names}", remedy=key[-1])
        merged.append(first)
    return merged
