"""Explain, then detect: a judge names the concept of a unit, and then looks for it in held-out images.

For language models, Bills et al. (2023) explained neurons from top activations and scored the explanations by
simulation. Paulo et al. (2024, "Automatically Interpreting Millions of Features in Large Language Models",
arXiv:2410.13928, library delphi) replaced the simulation by detection: the scorer is shown the explanation and texts
with and without the feature, and says in which the feature is active. SAEBench (Karvonen et al. 2025) has such a score
of several texts per question. Here the texts are images, each in a question of its own, and the answers give a balanced
accuracy. The control, the concept of another unit on the same images, is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import seed_of
from harness.judging.detection_questions import (
    DetectionImages,
    DrawnCell,
    Pictures,
    control_units,
    detection_questions,
    drawn_units,
    explaining_question,
)
from harness.judging.explained_scores import JudgedUnit, cell_scores, record_cell
from harness.judging.pairs import draw
from harness.judging.selection import Contest, contests, require_same_images
from harness.judging.stored_replies import ReplyCount, answers_of, keeper, last_replies
from harness.progress import Reporter, Silent
from harness.stats import Detections, JudgedMean
from judges.base import CallEstimate, Judge, Key, Question
from judges.concepts import DETECT, EXPLAIN
from judges.grids import Album
from judges.guarding import guarded, opened
from judges.panel import Panel, Wanted, ask, described, id_of, make_panel, open_questions, require_concepts
from judges.parsing import clean_concept
from judges.prompt import Prompt
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


class ExplainedCell(NamedTuple):
    """Score of one cell."""

    contest: str
    panel: str
    cell_id: str
    label: str
    token_seed: int
    n_units: int
    """units that were drawn"""
    score: JudgedMean | None
    """None: no unit of a judge has a score, or replies are missing"""
    control: JudgedMean | None
    gap: JudgedMean | None
    """mean over units of score minus control"""
    notes: tuple[str, ...]


class ExplainedCells(NamedTuple):
    """Result of :func:`explain`."""

    cells: list[ExplainedCell]
    asked: int
    """number of questions asked now; repetitions are not counted"""
    kept: int
    """number of questions that were answered before"""


@dataclass(frozen=True)
class _Job:
    """One cell with its panel, images and drawn units."""

    contest: Contest
    panel: Panel
    cell_id: str
    label: str
    token_seed: int
    drawn: DrawnCell


class _Asked(NamedTuple):
    """One question about a unit, and what its answer counts for."""

    unit: int
    """position in the drawn units"""
    is_control: bool
    positive: bool
    question: Question


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
    for member, jobs in _by_judge(_jobs(store, cell_ids, images, settings, pictures)):
        explained, detected = (last_replies(store, member, prompt) for prompt in (EXPLAIN, DETECT))
        named = answers_of(store, member, EXPLAIN)
        with guarded(described(member), "estimate"):
            costs = [CallEstimate(*map(int, member.estimate(prompt))) for prompt in (EXPLAIN, DETECT)]
        for contest in dict.fromkeys(job.contest.title for job in jobs):
            here = [job for job in jobs if job.contest.title == contest]
            n_units = sum(len(job.drawn.units) for job in here)
            explaining = [question for job in here for question in _explaining(job, pictures)]
            detecting: list[Question] = []
            unnamed = 0
            for job in here:
                concepts = _concepts(member, job, pictures, named)
                detecting += [asked.question for asked in _detecting(job, concepts, pictures)]
                images_of = [len(unit.positives) + len(unit.negatives) for unit in job.drawn.units]
                unnamed += sum(2 * n for n, concept in zip(images_of, concepts, strict=True) if concept is None)
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


def explain(
    store: Store,
    cell_ids: Sequence[str],
    images: ImageSet,
    settings: Explaining,
    *,
    folder: str | Path,
    reporter: Reporter | None = None,
) -> ExplainedCells:
    """Let each judge of a panel name the concepts of units and look for them in held-out images; store all of it.

    Questions with a stored reply are not asked again, and an interruption loses only the calls in progress. A judge
    that fails does not keep the others from being asked. A cell gets a score when all of its questions were asked.

    Args:
        store: store with the cells; receives replies, concepts and scores.
        cell_ids: cells whose units are explained.
        images: evaluation split that the top images of the cells refer to.
        settings: panel, number of units and images.
        folder: folder of the drawn grids.
        reporter: receives the progress.

    Raises:
        UserError: the panel is unknown or cannot name concepts, the images are not those of the cells, or, after all
            judges were asked, one of them could not answer.
        StoreError: if the store cannot be written.
    """
    reporter = reporter or Silent()
    pictures = Pictures(images)
    jobs = _jobs(store, cell_ids, images, settings, pictures)
    album = Album(images, folder)
    n_asked = n_kept = 0
    failures: list[str] = []
    for member, of_member in _by_judge(jobs):
        asking = _Asking(store, member, album, reporter)
        try:
            with ExitStack() as stack:
                explaining = [question for job in of_member for question in _explaining(job, pictures)]
                asking.ask(explaining, EXPLAIN, "names concepts", stack)
                named = answers_of(store, member, EXPLAIN)
                questions = [
                    asked.question
                    for job in of_member
                    for asked in _detecting(job, _concepts(member, job, pictures, named), pictures)
                ]
                # Servers cache and vary over time, so neither units nor methods are asked one after the other.
                order = draw(seed_of("order of detections", settings.seed), n, n) if (n := len(questions)) else []
                asking.ask([questions[number] for number in order], DETECT, "looks for concepts", stack)
        except UserError as error:
            failures.append(str(error))
        n_asked, n_kept = n_asked + asking.asked, n_kept + asking.kept
    answers = {id_of(member): _Answers.read(store, member) for member, _ in _by_judge(jobs)}
    explained = [_scored(store, job, settings, pictures, answers) for job in jobs]
    if failures:
        raise UserError(" ".join(dict.fromkeys(failures)))
    return ExplainedCells(explained, n_asked, n_kept)


class _Asking:
    """Questions to one judge, which is started with its first open question."""

    def __init__(self, store: Store, member: Judge, album: Album, reporter: Reporter) -> None:
        self._store, self._member, self._album, self._reporter = store, member, album, reporter
        self._open = False
        self.asked = self.kept = 0

    def ask(self, questions: Sequence[Question], prompt: Prompt, does: str, stack: ExitStack) -> None:
        """Ask the open ones of these questions and store the replies."""
        left = open_questions(self._member, questions, prompt, last_replies(self._store, self._member, prompt))
        n_questions = len({self._member.key(question, prompt) for question in questions})
        self.asked += len(left)
        self.kept += n_questions - len(left)
        if not left:
            return
        if not self._open:
            stack.enter_context(opened(self._member, described(self._member)))
            self._open = True
        count = ReplyCount(self._reporter, f"{self._member.name} {does}", total=len(left))
        ask(self._member, left, prompt, self._album, keeper(self._store, prompt, count))


class _Answers(NamedTuple):
    """Stored answers of one judge, None for an invalid or missing reply."""

    member: Judge
    named: Mapping[Key, str | None]
    detected: Mapping[Key, str | None]

    @classmethod
    def read(cls, store: Store, member: Judge) -> _Answers:
        return cls(member, *(answers_of(store, member, prompt) for prompt in (EXPLAIN, DETECT)))


def _scored(
    store: Store, job: _Job, settings: Explaining, pictures: Pictures, answers: Mapping[str, _Answers]
) -> ExplainedCell:
    """Compute and store the score of a cell from the stored replies."""
    by_judge: dict[str, list[JudgedUnit]] = {}
    n_unasked = 0
    for member in job.panel.judges:
        of_judge = answers[id_of(member)]
        units, n_missing = _judged_units(job, of_judge, pictures)
        by_judge[id_of(member)] = units
        n_unasked += n_missing
    cell_title = f"{job.label}, token seed {job.token_seed}"
    title = (job.contest.title, job.panel.id, job.cell_id, job.label, job.token_seed, len(job.drawn.units))
    if n_unasked:
        note = f"{cell_title}: not scored yet, {n_unasked} replies are missing; repeat the command to ask for them."
        return ExplainedCell(*title, None, None, None, (note,))
    scores = cell_scores(job.drawn, by_judge)
    record_cell(store, job.cell_id, job.panel.id, by_judge, job.drawn, scores, images=settings.images)
    notes = [f"{cell_title}: {sentence}" for sentence in _sentences(job, by_judge)]
    return ExplainedCell(*title, scores.score, scores.control, scores.gap, tuple(notes))


def _sentences(job: _Job, by_judge: Mapping[str, Sequence[JudgedUnit]]) -> list[str]:
    n = len(job.drawn.units)
    if not n:
        return ["none of its units has enough active top images, so it has no score."]
    sentences = []
    for member in job.panel.judges:
        units = by_judge[id_of(member)]
        n_named = sum(unit.concept is not None for unit in units)
        n_scored = sum(unit.detections.balanced_accuracy is not None for unit in units)
        if not n_scored:
            why = "no valid concept" if not n_named else "too few valid answers"
            sentences.append(f"{member.name} gave {why} for any of {n} units, so the method has no score.")
        elif n_scored < n:
            sentences.append(
                f"{n - n_scored} of {n} units have no score by {member.name}: {n - n_named} without a valid concept, "
                "the others with fewer than two valid answers on a side."
            )
    return sentences


def _judged_units(job: _Job, answers: _Answers, pictures: Pictures) -> tuple[list[JudgedUnit], int]:
    """Return what a judge answered about each drawn unit, and the number of questions without a stored reply."""
    member = answers.member
    missing = {
        key for question in _explaining(job, pictures) if (key := member.key(question, EXPLAIN)) not in answers.named
    }
    concepts = _concepts(member, job, pictures, answers.named)
    votes: list[tuple[list[tuple[bool, str | None]], list[tuple[bool, str | None]]]] = [([], []) for _ in concepts]
    for asked in _detecting(job, concepts, pictures):
        key = member.key(asked.question, DETECT)
        if key not in answers.detected:
            missing.add(key)
        votes[asked.unit][asked.is_control].append((asked.positive, answers.detected.get(key)))
    controls = control_units(concepts)
    units = [
        JudgedUnit(
            unit=unit.unit,
            concept=concept,
            detections=Detections.of(own),
            control=Detections.of(of_control),
            control_unit=None if control is None else job.drawn.units[control].unit,
            n_asked=len(own),
        )
        for unit, concept, (own, of_control), control in zip(job.drawn.units, concepts, votes, controls, strict=True)
    ]
    return units, len(missing)


def _explaining(job: _Job, pictures: Pictures) -> list[Question]:
    return [explaining_question(unit, pictures, job.contest.view) for unit in job.drawn.units]


def _concepts(member: Judge, job: _Job, pictures: Pictures, named: Mapping[Key, str | None]) -> list[str | None]:
    """Return the concept that a judge gave to each drawn unit; None for an invalid or missing one."""
    answers = [named.get(member.key(question, EXPLAIN)) for question in _explaining(job, pictures)]
    # Cleaned again: a store from elsewhere may hold any text.
    return [None if answer is None else clean_concept(answer) for answer in answers]


def _detecting(job: _Job, concepts: Sequence[str | None], pictures: Pictures) -> list[_Asked]:
    """Return the questions about the images of each named unit, with its own concept and with its control's."""
    asked = []
    for number, (unit, concept, control) in enumerate(
        zip(job.drawn.units, concepts, control_units(concepts), strict=True)
    ):
        for is_control, text in ((False, concept), (True, None if control is None else concepts[control])):
            asked += [
                _Asked(number, is_control, positive, question)
                for positive, question in _about(unit, text, job, pictures)
            ]
    return asked


def _about(unit: DetectionImages, concept: str | None, job: _Job, pictures: Pictures) -> list[tuple[bool, Question]]:
    return [] if concept is None else detection_questions(unit, concept, pictures, job.contest.view)


def _jobs(
    store: Store, cell_ids: Sequence[str], images: ImageSet, settings: Explaining, pictures: Pictures
) -> list[_Job]:
    jobs = []
    for contest in contests(store, cell_ids):
        require_same_images(store, contest, images)
        panel = make_panel(settings.panel, Wanted(contest.backbone, settings.judges, settings.options))
        require_concepts(panel)
        for entrant in contest.entrants:
            for token_seed, cell_id in entrant.cells.items():
                drawn = drawn_units(
                    store, cell_id, pictures, units=settings.units, images=settings.images, seed=settings.seed
                )
                jobs.append(_Job(contest, panel, cell_id, entrant.label, token_seed, drawn))
    return jobs


def _by_judge(jobs: Sequence[_Job]) -> list[tuple[Judge, list[_Job]]]:
    """Return each judge once, with the cells that it judges."""
    members: dict[str, tuple[Judge, list[_Job]]] = {}
    for job in jobs:
        for member in job.panel.judges:
            members.setdefault(id_of(member), (member, []))[1].append(job)
    return list(members.values())
