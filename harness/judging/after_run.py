"""Judging as the last step of a run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.judging.tournament import judge
from harness.progress import Reporter
from harness.suites import Suite
from judges.panel import PANELS, Wanted, make_panel
from results import Store, StoreError


def check(suite: Suite) -> None:
    """Raises UserError for a suite whose panel does not exist, before anything is computed."""
    if suite.judging is not None:
        PANELS.get(suite.judging.panel)


def foreseen(suite: Suite, backbones: Iterable[str]) -> list[str]:
    """Why the suite's panel will not be able to judge these backbones' units, as far as that is known before a run.

    Said and not raised: every cell can run without judges, and `harness judge` can ask others later.
    """
    if suite.judging is None:
        return []
    found = []
    for backbone in dict.fromkeys(backbones):
        try:
            make_panel(suite.judging.panel, Wanted(backbone, suite.judging.judges, suite.judging.options))
        except Exception as error:
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}."
            found.append(f"Nothing will be judged at the end as things are: {reason}")
    return list(dict.fromkeys(found))


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
        shown.say(f"Not judged: {reason} `harness judge`, with the suite and the options of this run, tries again.")
        return
    asked = sum(contest.asked for contest in contests)
    if asked:
        panels = ", ".join(dict.fromkeys(contest.panel for contest in contests))
        shown.say(f"Judged by {panels}: {asked} questions in {time.perf_counter() - started:.1f} s")
