"""What a check gives, and what a suite cannot do without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple


class Check(NamedTuple):
    """One thing that was looked at."""

    what: str
    ok: bool
    needed: bool
    """False for what only some uses need"""
    found: str
    remedy: str = ""


class Need(NamedTuple):
    """One thing a suite uses, and what of it cannot run without."""

    check: Check
    stops: Literal["all", "backbone", "method", "nothing"]
    """what cannot run where the check is not ok"""
    key: str = ""
    """the backbone, as :func:`harness.doctor.needs.backbone_key`, or the method, as ``method_key``, that it stops"""
    without: str = ""
    """what still runs, in words, where nothing is stopped"""


def grouped(checks: Iterable[Check]) -> list[Check]:
    """Checks as a person reads them: things that are missing for the same reason are one line.

    ``weights of A`` and ``weights of B`` become ``weights of A, B``, and in what brings them A becomes NAME.
    """
    groups: dict[Any, list[Check]] = {}
    for check in checks:
        kind, of, name = check.what.rpartition(" of ")
        remedy = check.remedy.replace(name, "NAME") if of else check.remedy
        key = (kind, check.ok, check.needed, check.found, remedy) if of else check
        groups.setdefault(key, []).append(check)
    shown = []
    for (first, *others), key in zip(groups.values(), groups, strict=True):
        if others:
            names = ", ".join(check.what.rpartition(" of ")[2] for check in (first, *others))
            first = first._replace(what=f"{key[0]} of {names}", remedy=key[-1])
        shown.append(first)
    return shown
