"""A whole suite: its parts one after the other, each with its sweep before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.progress import Reporter, Silent
from harness.run.loop import run
from harness.run.selection import selects, sweeps_before, with_selected
from harness.run.summary import PartSummary, RunSummary, together
from harness.suites import Suite


def run_suite(
    suite: Suite,
    store_path: str | Path,
    *,
    reporter: Reporter | None = None,
    runner: Callable[..., RunSummary] = run,
    **options: Any,
) -> RunSummary:
    """Run a suite with parts and selections; a part is a run of its own, with its own judging.

    A cell that several parts share is run by the first and kept by the others.

    Args:
        runner: runs a suite without parts, as :func:`harness.run.run` does.
        options: passed on to it (``device``, ``cache``, ``rerun``, ...).

    Raises:
        UserError: for anything wrong with the suite, or with every part of it.
    """
    shown = reporter or Silent()
    runs: list[RunSummary] = []
    parts: list[PartSummary] = []
    stopped: list[str] = []
    leaves = suite.leaves
    for number, leaf in enumerate(leaves):
        if len(leaves) > 1:
            shown.say(f"Part {number + 1} of {len(leaves)}, {leaf.name}: {leaf.description}")
        try:
            own = _run_leaf(leaf, store_path, shown, runs, runner, {**options, "reporter": reporter})
        except UserError as error:
            # What only loading shows (weights that do not fit) costs this part, not the ones after it.
            if len(leaves) == 1:
                raise
            stopped.append(f"{leaf.name} could not run: {error}")
            shown.say(stopped[-1])
            continue
        parts.append(PartSummary(leaf.name, leaf.description, own))
        if runs and runs[-1].interrupted:
            break
    if not runs:
        raise UserError("\n".join(stopped) or f"Nothing of {suite.name} is left to run.")
    return together(runs)._replace(parts=parts, stopped=stopped)


def _run_leaf(
    leaf: Suite,
    store_path: str | Path,
    shown: Reporter,
    runs: list[RunSummary],
    runner: Callable[..., RunSummary],
    options: dict[str, Any],
) -> list[str]:
    """Run a part and the sweeps of its targets, add all to ``runs``, and give the part's cells."""
    ready: Suite | None = leaf
    if selects(leaf):
        shown.say(f"Sweep before {leaf.name}:")
        swept: list[list[str]] = []
        for sweep in sweeps_before(leaf):
            if sweep is None:
                swept.append([])
                continue
            runs.append(runner(sweep, store_path, **options))
            if runs[-1].interrupted:
                return []
            swept.append(runs[-1].cell_ids)
        ready, notes = with_selected(leaf, store_path, swept)
        for note in notes:
            shown.say(f"  {note}")
    if ready is None:
        return []
    summary = runner(ready, store_path, **options)
    runs.append(summary)
    return summary.cell_ids
