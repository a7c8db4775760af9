"""Run a whole suite: its parts in order, each after its sweep."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.progress import Reporter, Silent
from harness.run.announce import without_further_set
from harness.run.loop import run
from harness.run.selection import has_selections, sweep_suites, with_selections
from harness.run.summary import PartSummary, RunSummary, combine_summaries
from harness.suites import Suite
from harness.training_logs import require as require_log


def run_suite(
    suite: Suite,
    store_path: str | Path,
    *,
    reporter: Reporter | None = None,
    runner: Callable[..., RunSummary] = run,
    named: Collection[str] = (),
    log: str | None = None,
    **options: Any,
) -> RunSummary:
    """Run a suite with parts and selections; each part is a separate run with its own judging.

    A cell that several parts share is computed by the first part and kept by the others.

    Args:
        suite: suite to run.
        store_path: DuckDB file.
        reporter: receives the progress; default: no output.
        runner: function that runs a suite without parts, with the signature of :func:`harness.run.run`.
        named: names or labels of methods that must not be left out of every target, of a suite without parts.
        log: name of a training log, passed to ``runner``; default: none.
        options: passed to ``runner`` (``device``, ``cache``, ``rerun``, ...).

    Raises:
        UserError: if a suite without parts cannot run, or no part can.
    """
    reporter = reporter or Silent()
    if log is not None:
        require_log(log)
        options = {**options, "log": log}
    runs: list[RunSummary] = []
    parts: list[PartSummary] = []
    stopped: list[str] = []
    leaves = suite.leaves
    for sentence in without_further_set(leaves):
        reporter.say(sentence)
    if named and len(leaves) == 1 and not has_selections(leaves[0]):
        options["named"] = named
    for number, leaf in enumerate(leaves):
        if len(leaves) > 1:
            reporter.say(f"Part {number + 1} of {len(leaves)}, {leaf.name}: {leaf.description}")
        try:
            leaf_options = {**options, "reporter": reporter}
            cell_ids = _run_leaf(leaf, leaves[number + 1 :], store_path, reporter, runs, runner, leaf_options)
        except UserError as error:
            # Errors that only loading reveals (weights that do not fit) skip this part and not the following ones.
            if len(leaves) == 1:
                raise
            stopped.append(f"{leaf.name} could not run: {error}")
            reporter.say(stopped[-1])
            continue
        parts.append(PartSummary(leaf.name, leaf.description, cell_ids))
        if runs and runs[-1].interrupted:
            break
    if not runs:
        raise UserError("\n".join(stopped) or f"No cells of {suite.name} are left to run.")
    return combine_summaries(runs)._replace(parts=parts, stopped=stopped)


def _run_leaf(
    leaf: Suite,
    after: Sequence[Suite],
    store_path: str | Path,
    reporter: Reporter,
    runs: list[RunSummary],
    runner: Callable[..., RunSummary],
    options: dict[str, Any],
) -> list[str]:
    """Run the sweeps of a part and then the part, append the summaries to ``runs``, and return the part's cell ids.

    The parts ``after`` it need tokens of the same backbones; each backbone makes them in one pass.
    """
    ready: Suite | None = leaf
    if has_selections(leaf):
        reporter.say(f"Sweep before {leaf.name}:")
        swept: list[list[str]] = []
        for sweep in sweep_suites(leaf):
            if sweep is not None:
                runs.append(runner(sweep, store_path, upcoming=(leaf, *after), **options))
                if runs[-1].interrupted:
                    return []
            swept.append([] if sweep is None else runs[-1].cell_ids)
        ready, notes = with_selections(leaf, store_path, swept)
        for note in notes:
            reporter.say(f"  {note}")
    if ready is None:
        return []
    runs.append(runner(ready, store_path, upcoming=after, **options))
    return runs[-1].cell_ids
