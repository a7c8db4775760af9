"""Judging of all contests of a suite by one panel: ask the open questions, store the replies, compute win rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from harness import datasets
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import digest
from harness.judging.asking import OpenContest, ask_members
from harness.judging.pairs import Units, comparisons, tokens_per_side, units_of
from harness.judging.scoring import WIN_RATE_VERSION, rescore
from harness.judging.selection import Contest, contests, require_same_images
from harness.judging.stored_replies import last_replies
from harness.progress import Reporter, Silent
from harness.suites import Judging, Suite
from judges.base import CallEstimate, Judge, Key, Preparation, Question
from judges.grids import RENDER_VERSION, Album, Grid, TokenPosition, content_hash, grid_of
from judges.guarding import guarded
from judges.panel import LastReply, Panel, Wanted, described, id_of, make_panel, open_questions
from judges.prompt import Prompt, prompt_for
from results import Store
from results.store import judgments
from results.store.judgments import COMPARISON_COLUMNS, TournamentRecord
from results.store.records import CONSENSUS, OF_ANSWERS, consensus_of_answers
from results.views import View


class Planned(NamedTuple):
    """Number of calls and tokens for judging one contest with one judge."""

    contest: str
    panel: str
    judge: str
    n_methods: int
    n_pairs: int
    """number of unit pairs"""
    calls: int
    """number of questions: each pair in both orders, and the controls"""
    stored: int
    """number of questions with a stored reply"""
    left: int
    """number of questions to ask"""
    prompt_tokens: int
    """estimate for the questions to ask, without repetitions of invalid replies"""
    completion_tokens: int


class JudgedContest(NamedTuple):
    """Result of judging one contest."""

    contest: str
    panel: str
    tournament: str
    asked: int
    """number of questions asked now; repetitions are not counted"""
    kept: int
    """number of questions that were answered before"""
    changed: int = 0
    """number of these whose answer is another one now; of judges who answer later"""
    withdrawn: int = 0
    """number of these whose answer was taken back; of judges who answer later"""


@dataclass(frozen=True)
class _Schedule:
    """Contest with its panel and all questions."""

    contest: Contest
    panel: Panel
    prompt: Prompt
    frame: pd.DataFrame
    questions: list[Question]
    settings: dict[str, Any]
    notes: list[str]

    @property
    def tournament(self) -> str:
        """Identifier of the questions and judges; of the questions alone if judges join freely.

        The version of the win rate is not a part of it: a tournament that is scored by a new definition stays the same.
        The first version's number is still in the hash, so that tournaments of older stores keep their identifiers.
        """
        return digest(
            {
                "panel": self.panel.id,
                "judges": [] if self.panel.joins_freely else [id_of(judge) for judge in self.panel.judges],
                "prompt": self.prompt.version,
                "settings": {**self.settings, "version": 1},
                "cells": list(self.contest.cell_ids),
            }
        )

    def n_questions(self, member: Judge) -> int:
        """Number of different questions to a judge."""
        with guarded(described(member), "key"):
            return len({member.key(question, self.prompt) for question in self.questions})


def evaluation_images(suite: Suite) -> ImageSet:
    """Return the evaluation split of a suite.

    Raises:
        UserError: if the data set cannot be loaded.
    """
    images = datasets.load(suite.data.dataset)
    return images.split(evaluation=suite.data.evaluation, seed=suite.data.split_seed).evaluation


def plan(store: Store, cell_ids: Sequence[str], images: ImageSet, judging: Judging) -> list[Planned]:
    """Return what :func:`judge` would do, without asking judges or writing to the store.

    Raises:
        UserError: as :func:`judge`.
    """
    rows = []
    for schedule in _schedules(store, cell_ids, images, judging):
        if not schedule.panel.judges:
            rows.append(_planned_for_nobody(schedule))
        for member in schedule.panel.judges:
            answered = last_replies(store, member, schedule.prompt)
            n_questions = schedule.n_questions(member)
            n_open = len(open_questions(member, schedule.questions, schedule.prompt, answered))
            with guarded(described(member), "estimate"):
                cost = CallEstimate(*map(int, member.estimate(schedule.prompt)))
            rows.append(
                Planned(
                    contest=schedule.contest.title,
                    panel=schedule.panel.id,
                    judge=member.name,
                    n_methods=len(schedule.contest.entrants),
                    n_pairs=int((schedule.frame["order"] == 1).sum()),
                    calls=n_questions,
                    stored=n_questions - n_open,
                    left=n_open,
                    prompt_tokens=n_open * cost.prompt_tokens,
                    completion_tokens=n_open * cost.completion_tokens,
                )
            )
    return rows


def _planned_for_nobody(schedule: _Schedule) -> Planned:
    """Return the number of questions of a panel that nobody has joined yet."""
    n = len({(question.grid_a.key, question.subject) for question in schedule.questions})
    n_pairs = int((schedule.frame["order"] == 1).sum())
    title, panel = schedule.contest.title, schedule.panel.id
    return Planned(title, panel, "nobody yet", len(schedule.contest.entrants), n_pairs, n, 0, n, 0, 0)


def judge(
    store: Store,
    cell_ids: Sequence[str],
    images: ImageSet,
    judging: Judging,
    *,
    folder: str | Path,
    reporter: Reporter | None = None,
    release: Callable[[], None] = lambda: None,
) -> list[JudgedContest]:
    """Let a panel judge every contest among the cells, and store replies, win rates and checks of the judges.

    Questions with a stored reply are not asked again. Contests with fewer than two methods are skipped. An interruption
    loses only the calls in progress. A judge that fails does not keep the others from being asked.

    Args:
        store: store with the cells; receives the replies and win rates.
        cell_ids: cells that compete; see :func:`harness.judging.selection.contests`.
        images: evaluation split that the top images of the cells refer to.
        judging: panel and settings.
        folder: folder of the drawn grids, for judges that need them.
        reporter: receives the progress.
        release: gives back the memory of GPUs that this process holds; called before a judge loads a model there.

    Raises:
        UserError: if a panel or setting is unknown, the images are not those of the cells, there are too few top
            images, or, after all judges were asked, if one of them could not answer.
        StoreError: if the store cannot be written.
    """
    reporter = reporter or Silent()
    schedules = _schedules(store, cell_ids, images, judging)
    album = Album(images, folder)
    for schedule in schedules:
        _record_schedule(store, schedule)
        _prepare(store, schedule, album, reporter)
    n_asked = dict.fromkeys((schedule.tournament for schedule in schedules), 0)
    n_kept = dict(n_asked)
    members: list[tuple[Judge, list[OpenContest]]] = []
    may_change: list[tuple[Judge, _Schedule, dict[Key, LastReply]]] = []
    for member, judged_schedules in _by_judge(schedules):
        answered = last_replies(store, member, judged_schedules[0].prompt)
        jobs = [(s, open_questions(member, s.questions, s.prompt, answered)) for s in judged_schedules]
        for schedule, questions in jobs:
            n_kept[schedule.tournament] += schedule.n_questions(member) - len(questions)
            if not member.answers_later:
                n_asked[schedule.tournament] += len(questions)
        # A reply that was given before may have changed since.
        asked = [(s, s.questions if member.answers_later else questions) for s, questions in jobs]
        members.append((member, [OpenContest(s.contest.title, questions, s.prompt) for s, questions in asked]))
        may_change += [(member, s, answered) for s in judged_schedules if member.answers_later]
    failures = ask_members(store, members, album, reporter, release)
    n_changed, n_withdrawn = (dict.fromkeys(n_asked, 0) for _ in range(2))
    for member, schedule, before in may_change:
        after = last_replies(store, member, schedule.prompt)
        for key in {member.key(question, schedule.prompt) for question in schedule.questions}:
            # A reply that was taken back is one that has not come.
            old, new = (reply if reply and reply.came else None for reply in (before.get(key), after.get(key)))
            n_asked[schedule.tournament] += new is not None and old is None
            n_withdrawn[schedule.tournament] += old is not None and new is None
            n_changed[schedule.tournament] += bool(old and new and old.answer != new.answer)
    for schedule in schedules:
        if schedule.panel.joins_freely:
            # Scoring adds whoever has a reply.
            judgments.record_judges(store, schedule.tournament, sorted(map(id_of, schedule.panel.judges)))
    rescore(store, [*n_asked, *_sharing_replies(store, schedules)])
    if failures:
        raise UserError(" ".join(dict.fromkeys(failures)))
    return [
        JudgedContest(
            s.contest.title,
            s.panel.id,
            s.tournament,
            n_asked[s.tournament],
            n_kept[s.tournament],
            n_changed[s.tournament],
            n_withdrawn[s.tournament],
        )
        for s in schedules
    ]


def _prepare(store: Store, schedule: _Schedule, album: Album, reporter: Reporter) -> None:
    preparation = Preparation(
        schedule.tournament,
        schedule.contest.title,
        schedule.questions,
        schedule.prompt,
        album,
        store.path.parent,
        reporter.progress,
    )
    if schedule.panel.judge_class is not None:
        with guarded(f"The judge panel {schedule.panel.kind!r}", "prepare"):
            schedule.panel.judge_class.prepare(preparation)


def _sharing_replies(store: Store, schedules: Sequence[_Schedule]) -> list[str]:
    """Return the tournaments of judges that join freely: a new reply may be to a question of any of them."""
    if not any(schedule.panel.joins_freely for schedule in schedules):
        return []
    frame = judgments.tournaments(store)
    return [row.tournament for row in frame.itertuples() if consensus_of_answers(row.settings)]


def _by_judge(schedules: Sequence[_Schedule]) -> list[tuple[Judge, list[_Schedule]]]:
    """Return each judge once, with the contests that it judges."""
    members: dict[str, tuple[Judge, list[_Schedule]]] = {}
    for schedule in schedules:
        for member in schedule.panel.judges:
            members.setdefault(id_of(member), (member, []))[1].append(schedule)
    return list(members.values())


def _schedules(store: Store, cell_ids: Sequence[str], images: ImageSet, judging: Judging) -> list[_Schedule]:
    schedules = []

    @cache
    def content(index: int) -> str:
        return content_hash(images.reader.read(images.records[index]))

    for contest in contests(store, cell_ids):
        if len(contest.entrants) < 2:
            continue
        require_same_images(store, contest, images)
        wanted = Wanted(contest.backbone, judging.judges, judging.options, store.path.parent)
        panel = make_panel(judging.panel, wanted)
        prompt = prompt_for(judging.style, panel.protocol or judging.protocol)
        if prompt.panel not in (None, panel.kind):
            raise UserError(
                f"The protocol {judging.protocol!r} is for the panel {prompt.panel!r} and not for {panel.kind!r}: give "
                "another --protocol, e.g. default."
            )
        cells = [cell for entrant in contest.entrants for cell in entrant.cells.values()]
        units = {cell: units_of(store, cell, judging.min_images) for cell in cells}
        frame, notes = comparisons(contest, units, pairs=judging.pairs, controls=judging.controls, seed=judging.seed)
        if frame.empty:
            continue
        side = tokens_per_side(contest.backbone, contest.site) if judging.style == "outlined" else None
        frame, questions = _with_grids(frame, units, contest.view, side, content)
        settings = {
            "version": WIN_RATE_VERSION,
            "pairs": judging.pairs,
            "seed": judging.seed,
            "style": judging.style,
            "min_images": judging.min_images,
            "render": RENDER_VERSION,
            **({CONSENSUS: OF_ANSWERS} if panel.joins_freely else {}),
        }
        panel = panel.on(questions, prompt)
        schedules.append(_Schedule(contest, panel, prompt, frame, questions, settings, notes))
    return schedules


def _with_grids(
    frame: pd.DataFrame, units: dict[str, Units], view: View, side: int | None, content: Callable[[int], str]
) -> tuple[pd.DataFrame, list[Question]]:
    """Return the comparisons with the columns grid_a and grid_b, and their questions."""

    @cache
    def grid(cell: str, row: int) -> Grid:
        cell_units = units[cell]
        active = cell_units.value[row] > 0
        indices = cell_units.image[row][active].tolist()
        positions = [_token_position(position, side) for position in cell_units.position[row][active].tolist()]
        return grid_of([content(index) for index in indices], indices, positions, view)

    questions = [Question(grid(row.cell_a, row.row_a), grid(row.cell_b, row.row_b)) for row in frame.itertuples()]
    with_keys = frame.drop(columns=["row_a", "row_b"]).assign(
        grid_a=[question.grid_a.key for question in questions], grid_b=[question.subject for question in questions]
    )
    return with_keys, questions


def _token_position(position: int, side: int | None) -> TokenPosition | None:
    """Return row and column of a token in a square layout; None for tokens without an image position (CLS)."""
    return None if side is None or position < 0 else TokenPosition(position // side, position % side, side)


def _record_schedule(store: Store, schedule: _Schedule) -> None:
    """Store the comparisons before any judge is asked, so that replies can be scored even if the process is killed."""
    stored = judgments.comparisons(store, schedule.tournament)
    columns = list(COMPARISON_COLUMNS)
    if len(stored) and sorted(stored[columns].itertuples(index=False)) == sorted(
        schedule.frame[columns].itertuples(index=False)
    ):
        return  # keeps the stored win rates until the tournament is scored again
    record = TournamentRecord(
        tournament=schedule.tournament,
        panel=schedule.panel.id,
        judges=[id_of(member) for member in schedule.panel.judges],
        prompt_version=schedule.prompt.version,
        settings=schedule.settings,
        notes=schedule.notes,
    )
    judgments.record_tournament(store, record, pd.DataFrame(), schedule.frame)
