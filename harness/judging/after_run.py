"""Judging as the last step of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.judging.people import ballots_of, page_address
from harness.judging.tournament import judge
from harness.progress import Reporter
from harness.suites import Suite
from judges.gpus import visible_gpus
from judges.panel import PANELS, Wanted, make_panel
from judges.processes import require_gpus
from methods.errors import first_line
from results import Store, StoreError
from results.duration_text import duration_text


def check_panel(suite: Suite) -> None:
    """Raise UserError if the suite's panel does not exist, before anything is computed."""
    if suite.judging is not None:
        PANELS.get(suite.judging.panel)


def panel_problems(suite: Suite, backbones: Iterable[str]) -> list[str]:
    """Return the reasons why the suite's panel cannot judge the units of these backbones, as far as known before a run.

    They are reported and not raised: all cells can run without judges, and `harness judge` can ask another panel later.
    """
    if suite.judging is None:
        return []
    problems = []
    for backbone in dict.fromkeys(backbones):
        try:
            panel = make_panel(suite.judging.panel, Wanted(backbone, suite.judging.judges, suite.judging.options))
            if any(judge.own_process for judge in panel.judges):
                require_gpus(panel.judges, visible_gpus())
        except Exception as error:
            problems.append(f"Judging will be skipped: {_reason(error)}")
    return list(dict.fromkeys(problems))


def judge_run(
    suite: Suite,
    store: Store,
    cell_ids: Sequence[str],
    images: ImageSet,
    folder: Path,
    reporter: Reporter,
    release: Callable[[], None] = lambda: None,
) -> None:
    """Judge the cells of a run if its suite has a panel; errors of the panel are reported and do not stop the run.

    The cells are already measured and stored, so a missing package, a deleted image or an error in a panel must not
    make the run fail.

    Args:
        release: as for :func:`harness.judging.tournament.judge`.
    """
    if suite.judging is None:
        return
    started = time.perf_counter()
    try:
        contests = judge(store, cell_ids, images, suite.judging, folder=folder, reporter=reporter, release=release)
        ballots = ballots_of(store, [contest.tournament for contest in contests])
    except Exception as error:
        advice = "Run `harness judge` with the suite and options of this run to try again."
        reporter.say(f"Not judged: {_reason(error)} {advice}")
        return
    n_asked = sum(contest.asked for contest in contests)
    for ballot in ballots:
        page = page_address(ballot.tournament)
        reporter.say(f"People can vote on {len(ballot.questions)} questions: run `harness app` and open {page}")
    if n_asked:
        panels = ", ".join(dict.fromkeys(contest.panel for contest in contests))
        reporter.say(f"Judged by {panels}: {n_asked} questions in {duration_text(time.perf_counter() - started)}")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UserError | StoreError) else f"{first_line(error)}."
