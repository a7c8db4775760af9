"""A store whose cells people judge, and their votes."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd

from harness import judging
from harness.datasets.base import ImageSet
from harness.judging import JudgedContest
from harness.suites import Judging
from judges.panel import Wanted, make_panel
from results import Store
from results.people.ballot import Question, read_ballot
from results.people.standing import shuffled
from results.people.votes import Vote, append_votes
from results.store import judgments

CELLS = [f"{method}-{seed}" for seed in (1, 2) for method in ("identity", "random_split", "pure")]
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def judged(store: Store, images: ImageSet, *names: str, cells: list[str] = CELLS, **settings: object) -> JudgedContest:
    values = {"pairs": 2, "controls": 2, **settings}
    people = Judging(panel="people", judges=tuple({"name": name} for name in names), **values)  # type: ignore[arg-type]
    (contest,) = judging.judge(store, cells, images, people, folder=store.path.parent / "grids")
    return contest


def row_of(store: Store, tournament: str) -> pd.Series:
    return judgments.tournaments(store).set_index("tournament").loc[tournament]


def comparisons_of(store: Store, contest: JudgedContest) -> dict[Question, tuple[str, str]]:
    """Question -> methods of grid A and grid B, which people never see."""
    frame = judgments.comparisons(store, contest.tournament)
    version = row_of(store, contest.tournament)["prompt_version"]
    return {
        Question(version, row.grid_a, row.grid_b): (row.cell_a.split("-")[0], row.cell_b.split("-")[0])
        for row in frame.itertuples()
    }


def judge_id(name: str) -> str:
    (judge,) = make_panel("people", Wanted("tiny_vit", ({"name": name},))).judges
    return judge.id


def vote(
    store: Store,
    contest: JudgedContest,
    name: str,
    count: int | None = None,
    *,
    at: datetime = AT,
    invert: bool = False,
) -> list[Vote]:
    """Vote for (or against) the purer method on the first questions of an annotator's order; ties on controls."""
    methods = comparisons_of(store, contest)
    order = ("pure", "identity", "random_split")
    votes = []
    for question in shuffled(read_ballot(store.path.parent, contest.tournament), name)[:count]:
        a, b = (order.index(method) for method in methods[question])
        votes.append(Vote(question, "tie" if a == b else "A" if (a < b) != invert else "B", 1.5, at))
    append_votes(store.path.parent, name, votes)
    return votes
