"""Number of questions of "explain, then detect", without asking any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.datasets.base import ImageSet
from harness.judging.detection_questions import (
    Pictures,
)
from harness.judging.explaining_jobs import (
    Explaining,
    Job,
    concepts_of,
    detecting_of,
    explaining_of,
    jobs_of,
    members_of,
)
from harness.judging.stored_replies import answers_of, last_replies
from judges.base import CallEstimate, Judge, Key, Question
from judges.concepts import DETECT, EXPLAIN
from judges.guarding import guarded
from judges.panel import LastReply, described, open_questions
from results import Store


class PlannedExplaining(NamedTuple):
    """Number of calls and tokens of one judge for one layer."""

    contest: str
    panel: str
    judge: str
    n_cells: int
    n_units: int
    calls: int
    """largest number of questions: one per unit, and two per image of its detection, one of them with the control"""
    stored: int
    """number of questions with a stored reply"""
    left: int
    """largest number of questions to ask"""
    prompt_tokens: int
    """estimate for the questions to ask, without repetitions of invalid replies"""
    completion_tokens: int


def plan_explaining(
    store: Store, cell_ids: Sequence[str], images: ImageSet, settings: Explaining
) -> list[PlannedExplaining]:
    """Return what :func:`explain` would ask at most, without asking judges or writing to the store.

    The questions about a concept are known when it has been named, so units without a stored one count in full.

    Raises:
        UserError: as :func:`explain`.
    """
    pictures = Pictures(images)
    rows = []
    for member, jobs in members_of(jobs_of(store, cell_ids, images, settings, pictures)):
        explained, detected = (last_replies(store, member, prompt) for prompt in (EXPLAIN, DETECT))
        named = answers_of(store, member, EXPLAIN)
        with guarded(described(member), "estimate"):
            costs = [CallEstimate(*map(int, member.estimate(prompt))) for prompt in (EXPLAIN, DETECT)]
        for contest in dict.fromkeys(job.contest.title for job in jobs):
            here = [job for job in jobs if job.contest.title == contest]
            n_units = sum(len(job.drawn.units) for job in here)
            explaining = [question for job in here for question in explaining_of(job, pictures)]
            detecting: list[Question] = []
            unnamed = 0
            for job in here:
                concepts = concepts_of(member, job, pictures, named)
                detecting += [asked.question for asked in detecting_of(job, concepts, pictures)]
                images_of = [len(unit.positives) + len(unit.negatives) for unit in job.drawn.units]
                unnamed += _still_unknown(member, job, pictures, concepts, explained, images_of)
            n_detect = len({member.key(question, DETECT) for question in detecting})
            left = (
                len(open_questions(member, explaining, EXPLAIN, explained)),
                len(open_questions(member, detecting, DETECT, detected)) + unnamed,
            )
            n_calls = len({member.key(question, EXPLAIN) for question in explaining}) + n_detect + unnamed
            rows.append(
                PlannedExplaining(
                    contest=contest,
                    panel=here[0].panel.id,
                    judge=member.name,
                    n_cells=len(here),
                    n_units=n_units,
                    calls=n_calls,
                    stored=n_calls - sum(left),
                    left=sum(left),
                    prompt_tokens=sum(n * cost.prompt_tokens for n, cost in zip(left, costs, strict=True)),
                    completion_tokens=sum(n * cost.completion_tokens for n, cost in zip(left, costs, strict=True)),
                )
            )
    return rows


def _still_unknown(
    member: Judge,
    job: Job,
    pictures: Pictures,
    concepts: Sequence[str | None],
    explained: Mapping[Key, LastReply],
    images_of: Sequence[int],
) -> int:
    """Return the largest number of questions about the images of units that are not known before units are named."""
    questions = explaining_of(job, pictures)
    is_open = [bool(open_questions(member, [question], EXPLAIN, explained)) for question in questions]
    total = 0
    for number, (n, concept) in enumerate(zip(images_of, concepts, strict=True)):
        if concept is None:
            total += 2 * n * is_open[number]
        elif is_open[(number + 1) % len(is_open)]:
            total += n  # its control changes when the next unit gets a name
    return total
