"""Cells of a folder that contradict each other, for reviewers: claims, labels, and times of fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from results.store.canonical import canonical_json
from results.store.records import grouped
from results.submissions.fields import seen
from results.submissions.folder import Document, Folder
from results.submissions.guards import Finding

#: Ratio of the times of two fits of one method on one device above which a reviewer should ask.
SUSPICIOUS_RATIO = 20.0


def contradictions(folder: Folder) -> Iterator[Finding]:
    """Yield warnings on cells that should agree and do not."""
    for cells in grouped(folder.cells, _method).values():
        yield from _claims(cells)
        for timed in grouped(cells, _layer_and_device).values():
            yield from _fit_seconds(timed)
    for cells in grouped(folder.cells, _layer_and_label).values():
        yield from _labels(cells)


def _method(cell: Document) -> str:
    """Return the method with its version and settings, as text."""
    return canonical_json(cell.content["identity"]["method"])


def _layer_and_device(cell: Document) -> tuple[Any, ...]:
    return tuple(cell.content["cell"].get(name) for name in ("backbone", "site", "device"))


def _layer_and_label(cell: Document) -> tuple[Any, ...]:
    return tuple(cell.content["cell"].get(name) for name in ("backbone", "site", "label"))


def _claims(cells: list[Document]) -> Iterator[Finding]:
    first = cells[0]
    claims = first.content["cell"].get("claims") or {}
    for cell in cells[1:]:
        others = cell.content["cell"].get("claims") or {}
        names = [name for name in sorted({*claims, *others}) if claims.get(name) != others.get(name)]
        if names:
            why = f"differ from those of {first.path}, which has the same method and settings: {', '.join(names)}."
            yield Finding(cell.problem("cell.claims", why), is_warning=True)
            return


def _labels(cells: list[Document]) -> Iterator[Finding]:
    method = cells[0].content["cell"]["method"]
    for cell in cells[1:]:
        if cell.content["cell"]["method"] != method:
            label = seen(cell.content["cell"]["label"])
            why = f"{label!r} is also that of another method on this layer: {cells[0].path}."
            yield Finding(cell.problem("cell.label", why), is_warning=True)
            return


def _fit_seconds(cells: list[Document]) -> Iterator[Finding]:
    times = [(cell.content["cell"]["fit_seconds"], cell) for cell in cells if cell.content["cell"].get("fit_seconds")]
    if not times:
        return
    least, quick = min(times, key=lambda one: one[0])
    most, slow = max(times, key=lambda one: one[0])
    # Below a second, the time is that of loading and of the first call.
    if most > 1 and most > SUSPICIOUS_RATIO * least:
        why = f"is {least:g}, and {most:g} for the same method and device in {slow.path}: ask why."
        yield Finding(quick.problem("cell.fit_seconds", why), is_warning=True)
