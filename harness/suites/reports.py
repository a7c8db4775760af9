"""What sections of a suite have to say when its cells are done: tables under the boards of ``harness run``.

A section that has something to say has a method ``report(store, cell_ids) -> AfterRun | None``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from harness.suites.schema import Suite
from results import Store
from results.tables import Table


class AfterRun(NamedTuple):
    """What one section says."""

    tables: Sequence[Table]
    data: Any
    """the same for machines"""


@runtime_checkable
class Reports(Protocol):
    """A section that says something after the run."""

    def report(self, store: Store, cell_ids: Sequence[str]) -> AfterRun | None:
        """What the cells say; None: nothing."""
        ...


def reports(suite: Suite, store: Store, cells: Mapping[str, Sequence[str]]) -> dict[str, AfterRun]:
    """What each section says of all parts that have it, together; the settings of the first such part count.

    Args:
        cells: name of a part (or of the suite, where it has none) to its cells.
    """
    sections: dict[str, Reports] = {}
    together: dict[str, list[str]] = {}
    for leaf in suite.leaves:
        for name, section in leaf.extra.items():
            if isinstance(section, Reports) and leaf.name in cells:
                sections.setdefault(name, section)
                together.setdefault(name, []).extend(cells[leaf.name])
    said = {name: section.report(store, together[name]) for name, section in sections.items()}
    return {name: found for name, found in said.items() if found is not None}
