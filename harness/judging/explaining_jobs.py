"""Cells whose units are explained, and the questions that a judge is asked about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.datasets.base import ImageSet
from harness.judging.detection_questions import (
    DetectionImages,
    DrawnCell,
    Pictures,
    control_units,
    detection_questions,
    drawn_units,
    explaining_question,
)
from harness.judging.selection import Contest, contests, require_same_images
from judges.base import Judge, Key, Question
from judges.concepts import EXPLAIN
from judges.panel import Panel, Wanted, id_of, make_panel, require_concepts
from judges.parsing import clean_concept
from results import Store


@dataclass(frozen=True)
class Explaining:
    """Settings of "explain, then detect"."""

    panel: str
    judges: tuple[Mapping[str, Any], ...] = ()
    """as in :class:`judges.panel.Wanted`"""
    options: Mapping[str, Any] = field(default_factory=dict)
    units: int = 50
    """units per cell"""
    images: int = 5
    """held-out images that show a unit, and as many that do not"""
    seed: int = 0
    """of the drawn units and images"""


@dataclass(frozen=True)
class Job:
    """One cell with its panel, images and drawn units."""

    contest: Contest
    panel: Panel
    cell_id: str
    label: str
    token_seed: int
    drawn: DrawnCell


class AskedImage(NamedTuple):
    """One question about a unit, and what its answer counts for."""

    unit: int
    """position in the drawn units"""
    is_control: bool
    positive: bool
    question: Question


def explaining_of(job: Job, pictures: Pictures) -> list[Question]:
    """Return the question for the concept of each drawn unit."""
    return [explaining_question(unit, pictures, job.contest.view) for unit in job.drawn.units]


def concepts_of(member: Judge, job: Job, pictures: Pictures, named: Mapping[Key, str | None]) -> list[str | None]:
    """Return the concept that a judge gave to each drawn unit; None for an invalid or missing one."""
    answers = [named.get(member.key(question, EXPLAIN)) for question in explaining_of(job, pictures)]
    # Cleaned again: a store from elsewhere may hold any text.
    return [None if answer is None else clean_concept(answer) for answer in answers]


def detecting_of(job: Job, concepts: Sequence[str | None], pictures: Pictures) -> list[AskedImage]:
    """Return the questions about the images of each named unit, with its own concept and with its control's."""
    asked = []
    for number, (unit, concept, control) in enumerate(
        zip(job.drawn.units, concepts, control_units(concepts), strict=True)
    ):
        for is_control, text in ((False, concept), (True, None if control is None else concepts[control])):
            asked += [
                AskedImage(number, is_control, positive, question)
                for positive, question in _about(unit, text, job, pictures)
            ]
    return asked


def _about(unit: DetectionImages, concept: str | None, job: Job, pictures: Pictures) -> list[tuple[bool, Question]]:
    return [] if concept is None else detection_questions(unit, concept, pictures, job.contest.view)


def jobs_of(
    store: Store, cell_ids: Sequence[str], images: ImageSet, settings: Explaining, pictures: Pictures
) -> list[Job]:
    """Return the cells with their panels and drawn units.

    Raises:
        UserError: the panel is unknown or cannot name concepts, or the images are not those of the cells.
    """
    jobs = []
    for contest in contests(store, cell_ids):
        require_same_images(store, contest, images)
        panel = make_panel(settings.panel, Wanted(contest.backbone, settings.judges, settings.options), votes=False)
        require_concepts(panel)
        for entrant in contest.entrants:
            for token_seed, cell_id in entrant.cells.items():
                drawn = drawn_units(
                    store, cell_id, pictures, units=settings.units, images=settings.images, seed=settings.seed
                )
                jobs.append(Job(contest, panel, cell_id, entrant.label, token_seed, drawn))
    return jobs


def members_of(jobs: Sequence[Job]) -> list[tuple[Judge, list[Job]]]:
    """Return each judge once, with the cells that it judges."""
    members: dict[str, tuple[Judge, list[Job]]] = {}
    for job in jobs:
        for member in job.panel.judges:
            members.setdefault(id_of(member), (member, []))[1].append(job)
    return list(members.values())
