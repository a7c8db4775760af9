"""One panel judges all contests of a suite: what is left to ask is asked, every reply kept, then scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from harness import datasets
from harness.datasets.base import ImageSet
from harness.identity import digest
from harness.judging.pairs import Units, comparisons, tokens_a_side, units_of
from harness.judging.scoring import WIN_RATE_VERSION, rescore
from harness.judging.selection import Contest, contests, require_same_images
from harness.progress import Reporter, Silent
from harness.suites import Judging, Suite
from judges.base import Judge, Key, Question, Reply
from judges.grids import RENDER_VERSION, Album, Grid, TokenPosition, content_hash, grid_of
from judges.panel import LastReply, Panel, Wanted, ask, make_panel, open_questions
from judges.prompt import Prompt, prompt_for
from results import Store
from results.store import judgments
from results.store.judgments import COMPARISON_COLUMNS, ReplyRecord, TournamentRecord


class Planned(NamedTuple):
    """What judging one contest with one judge takes."""

    contest: str
    panel: str
    judge: str
    n_methods: int
    n_pairs: int
    """unit pairs"""
    calls: int
    """each pair in both orders, and the controls"""
    stored: int
    """of these with a reply that stands"""
    left: int
    prompt_tokens: int
    """roughly, of the calls left, without repetitions of invalid ones"""
    completion_tokens: int


class JudgedContest(NamedTuple):
    """How judging one contest ended."""

    contest: str
    panel: str
    tournament: str
    asked: int
    """questions put to judges now, each counted once however often it was repeated"""
    kept: int
    """questions answered before"""


@dataclass(frozen=True)
class _Schedule:
    """A contest, who judges it, and everything that is shown."""

    contest: Contest
    panel: Panel
    prompt: Prompt
    frame: pd.DataFrame
    questions: list[Question]
    settings: dict[str, Any]
    notes: list[str]

    @property
    def tournament(self) -> str:
        return digest(
            {
                "panel": self.panel.id,
                "judges": [judge.id for judge in self.panel.judges],
                "prompt": self.prompt.version,
                "settings": self.settings,
                "cells": list(self.contest.cell_ids),
            }
        )


def evaluation_images(suite: Suite) -> ImageSet:
    """The evaluation split of a suite. Raises UserError where the data set cannot be had."""
    images = datasets.load(suite.data.dataset)
    return images.split(evaluation=suite.data.evaluation, seed=suite.data.split_seed).evaluation


def plan(store: Store, cell_ids: Sequence[str], images: ImageSet, judging: Judging) -> list[Planned]:
    """What :func:`judge` would do; asks nobody and writes nothing.

    Raises:
        UserError: as :func:`judge`.
    """
    rows = []
    for schedule in _schedules(store, cell_ids, images, judging):
        for member in schedule.panel.judges:
            known = _known(store, member, schedule.prompt)
            keys = {member.key(question, schedule.prompt) for question in schedule.questions}
            left = len(open_questions(member, schedule.questions, schedule.prompt, known))
            cost = member.estimate(schedule.prompt)
            rows.append(
                Planned(
                    contest=schedule.contest.title,
                    panel=schedule.panel.id,
                    judge=member.name,
                    n_methods=len(schedule.contest.entrants),
                    n_pairs=int((schedule.frame["order"] == 1).sum()),
                    calls=len(keys),
                    stored=len(keys) - left,
                    left=left,
                    prompt_tokens=left * cost.prompt_tokens,
                    completion_tokens=left * cost.completion_tokens,
                )
            )
    return rows


def judge(
    store: Store,
    cell_ids: Sequence[str],
    images: ImageSet,
    judging: Judging,
    *,
    folder: str | Path,
    reporter: Reporter | None = None,
) -> list[JudgedContest]:
    """Have a panel judge every contest among the cells, and store replies, win rates and the judges' health.

    Replies that are stored already are not asked for again. A contest with fewer than two methods is left out.
    Interrupting loses the calls in flight only.

    Args:
        cell_ids: which cells compete; see :func:`harness.judging.selection.contests`.
        images: the evaluation split that their top images point into.
        folder: where grids are kept, for judges that need them drawn.

    Raises:
        UserError: an unknown panel or setting, other images, too few top images, or a judge that cannot be asked.
        StoreError: the store cannot be written.
    """
    shown = reporter or Silent()
    schedules = _schedules(store, cell_ids, images, judging)
    for schedule in schedules:
        _record_schedule(store, schedule)
    album = Album(images, folder)
    asked = {schedule.tournament: 0 for schedule in schedules}
    kept = dict(asked)
    for member, own in _by_judge(schedules):
        # Inside, the judge is there: a model is loaded once for all contests, and only if something is left to ask.
        known = _known(store, member, own[0].prompt)
        left = [(schedule, open_questions(member, schedule.questions, schedule.prompt, known)) for schedule in own]
        for schedule, questions in left:
            kept[schedule.tournament] += len({member.key(q, schedule.prompt) for q in schedule.questions}) - len(
                questions
            )
            asked[schedule.tournament] += len(questions)
        if any(questions for _, questions in left):
            with member:
                for schedule, questions in left:
                    _ask(store, member, questions, schedule, album, shown)
    rescore(store, list(asked))
    return [
        JudgedContest(s.contest.title, s.panel.id, s.tournament, asked[s.tournament], kept[s.tournament])
        for s in schedules
    ]


def _ask(
    store: Store, member: Judge, questions: list[Question], schedule: _Schedule, album: Album, shown: Reporter
) -> None:
    done = 0
    total = len(questions)

    def keep(replies: Sequence[Reply]) -> None:
        nonlocal done, total
        judgments.record_replies(store, [_record(reply) for reply in replies])
        done += len(replies)
        # Repeated questions come on top.
        total = max(total, done)
        shown.progress(done, total, f"{member.name} judges {schedule.contest.title}")

    ask(member, questions, schedule.prompt, album, keep)


def _by_judge(schedules: Sequence[_Schedule]) -> list[tuple[Judge, list[_Schedule]]]:
    """Each judge once, with the contests it judges."""
    members: dict[str, tuple[Judge, list[_Schedule]]] = {}
    for schedule in schedules:
        for member in schedule.panel.judges:
            members.setdefault(member.id, (member, []))[1].append(schedule)
    return list(members.values())


def _schedules(store: Store, cell_ids: Sequence[str], images: ImageSet, judging: Judging) -> list[_Schedule]:
    prompt = prompt_for(judging.style)
    contents: dict[int, str] = {}
    found = []
    for contest in contests(store, cell_ids):
        if len(contest.entrants) < 2:
            continue
        require_same_images(store, contest, images)
        wanted = Wanted(contest.backbone, judging.judges, judging.options)
        panel = make_panel(judging.panel, wanted)
        cells = [cell for entrant in contest.entrants for cell in entrant.cells.values()]
        units = {cell: units_of(store, cell, judging.min_images) for cell in cells}
        frame, notes = comparisons(contest, units, pairs=judging.pairs, controls=judging.controls, seed=judging.seed)
        if frame.empty:
            continue
        side = tokens_a_side(contest.backbone, contest.site) if judging.style == "outlined" else None
        frame, grids = _with_grids(frame, units, images, contest, side, contents)
        questions = [Question(grids[a], grids[b]) for a, b in zip(frame["grid_a"], frame["grid_b"], strict=True)]
        settings = {
            "version": WIN_RATE_VERSION,
            "pairs": judging.pairs,
            "seed": judging.seed,
            "style": judging.style,
            "min_images": judging.min_images,
            "render": RENDER_VERSION,
        }
        found.append(_Schedule(contest, panel, prompt, frame, questions, settings, notes))
    return found


def _with_grids(
    frame: pd.DataFrame,
    units: dict[str, Units],
    images: ImageSet,
    contest: Contest,
    side: int | None,
    contents: dict[int, str],
) -> tuple[pd.DataFrame, dict[str, Grid]]:
    """The presentations with columns grid_a and grid_b, and the grids by key. ``contents`` caches image hashes."""
    made: dict[tuple[str, int], Grid] = {}

    def grid(cell: str, row: int) -> Grid:
        if (cell, row) not in made:
            own = units[cell]
            active = own.value[row] > 0
            indices = [int(index) for index in own.image[row][active]]
            for index in indices:
                if index not in contents:
                    contents[index] = content_hash(images.reader.read(images.records[index]))
            places = [_place(int(position), side) for position in own.position[row][active]]
            made[cell, row] = grid_of([contents[index] for index in indices], indices, places, contest.view)
        return made[cell, row]

    shown = frame.copy()
    for which in ("a", "b"):
        shown[f"grid_{which}"] = [
            grid(cell, row).key for cell, row in zip(frame[f"cell_{which}"], frame[f"row_{which}"], strict=True)
        ]
    return shown.drop(columns=["row_a", "row_b"]), {own.key: own for own in made.values()}


def _place(position: int, side: int | None) -> TokenPosition | None:
    """The token at a position of a square layout; None for a token that belongs to no place (CLS)."""
    return None if side is None or position < 0 else TokenPosition(position // side, position % side, side)


def _record_schedule(store: Store, schedule: _Schedule) -> None:
    """Store what will be shown before anybody is asked: whatever was answered when the process dies can be scored."""
    there = judgments.comparisons(store, schedule.tournament)
    columns = list(COMPARISON_COLUMNS)
    if len(there) and sorted(there[columns].itertuples(index=False)) == sorted(
        schedule.frame[columns].itertuples(index=False)
    ):
        return  # with the win rates it had, which stand until it is scored again
    record = TournamentRecord(
        tournament=schedule.tournament,
        panel=schedule.panel.id,
        judges=[member.id for member in schedule.panel.judges],
        prompt_version=schedule.prompt.version,
        settings=schedule.settings,
        notes=schedule.notes,
    )
    judgments.record_tournament(store, record, pd.DataFrame(), schedule.frame)


def _known(store: Store, member: Judge, prompt: Prompt) -> dict[Key, LastReply]:
    frame = judgments.last_replies(store, member.id, prompt.version)
    return {
        Key(member.id, prompt.version, row.grid_a, row.grid_b): LastReply(
            int(row.attempt), row.answer is not None, bool(row.came), bool(row.cut_off)
        )
        for row in frame.itertuples()
    }


def _record(reply: Reply) -> ReplyRecord:
    verdict = reply.verdict
    return ReplyRecord(
        **reply.key._asdict(),
        attempt=reply.attempt,
        answer=verdict.answer,
        reasoning_a=verdict.reasoning_a,
        reasoning_b=verdict.reasoning_b,
        problem=verdict.problem if reply.came else "no reply came",
        raw=reply.text,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        seconds=reply.seconds,
    )
