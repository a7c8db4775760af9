"""Judging as the last step of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.judging.tournament import judge
from harness.reporter import Reporter
from harness.suite import Suite
from judges.panel import PANELS
from results import Store, StoreError


def check(suite: Suite) -> None:
    """Raises UserError for a suite whose panel does not exist, before anything is computed."""
    if suite.judging is not None:
        PANELS.get(suite.judging.panel)


def judge_run(
    suite: Suite, store: Store, cell_ids: Sequence[str], images: ImageSet, folder: Path, shown: Reporter
) -> None:
    """Judge the cells of a run if its suite says so; what keeps a panel from judging is said and stops nothing.

    The cells are measured and stored by then: a missing package, an image that has gone since, or a fault in a panel
    must not make the run look failed.
    """
    if suite.judging is None:
        return
    started = time.perf_counter()
    try:
        contests = judge(store, cell_ids, images, suite.judging, folder=folder, reporter=shown)
    except Exception as error:
        known = isinstance(error, UserError | StoreError)
        reason = str(error) if known else f"{type(error).__name__}: {error}."
        shown.say(f"Not judged: {reason} `harness judge --suite {suite.name}` tries again.")
        return
    asked = sum(contest.asked for contest in contests)
    if asked:
        panels = ", ".join(dict.fromkeys(contest.panel for contest in contests))
        shown.say(f"Judged by {panels}: {asked} questions in {time.perf_counter() - started:.1f} s")
