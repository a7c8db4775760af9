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
from pathlib import Path
from typing import NamedTuple

from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import seed_of
from harness.judging.detection_questions import (
    Pictures,
    control_units,
)
from harness.judging.explained_scores import JudgedUnit, cell_scores, record_cell
from harness.judging.explaining_jobs import (
    Explaining,
    Job,
    concepts_of,
    detecting_of,
    explaining_of,
    jobs_of,
    members_of,
)
from harness.judging.pairs import draw
from harness.judging.stored_replies import ReplyCount, answers_of, keeper, last_replies
from harness.progress import Reporter, Silent
from harness.stats import Detections, JudgedMean
from judges.base import Judge, Key, Question
from judges.concepts import DETECT, EXPLAIN
from judges.grids import Album
from judges.guarding import opened
from judges.panel import ask, described, id_of, open_questions
from judges.prompt import Prompt
from results import Store


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
    jobs = jobs_of(store, cell_ids, images, settings, pictures)
    album = Album(images, folder)
    n_asked = n_kept = 0
    failures: list[str] = []
    for member, of_member in members_of(jobs):
        asking = _Asking(store, member, album, reporter)
        try:
            with ExitStack() as stack:
                explaining = [question for job in of_member for question in explaining_of(job, pictures)]
                asking.ask(explaining, EXPLAIN, "names concepts", stack)
                named = answers_of(store, member, EXPLAIN)
                questions = [
                    asked.question
                    for job in of_member
                    for asked in detecting_of(job, concepts_of(member, job, pictures, named), pictures)
                ]
                # Servers cache and vary over time, so neither units nor methods are asked one after the other.
                order = draw(seed_of("order of detections", settings.seed), n, n) if (n := len(questions)) else []
                asking.ask([questions[number] for number in order], DETECT, "looks for concepts", stack)
        except UserError as error:
            failures.append(str(error))
        n_asked, n_kept = n_asked + asking.asked, n_kept + asking.kept
    answers = {id_of(member): _Answers.read(store, member) for member, _ in members_of(jobs)}
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
    """Stored answers of one judge, None for an invalid reply and for one that did not come."""

    member: Judge
    named: Mapping[Key, str | None]
    detected: Mapping[Key, str | None]
    failed: frozenset[Key]
    """questions to which no reply came"""

    @classmethod
    def read(cls, store: Store, member: Judge) -> _Answers:
        named, detected = (answers_of(store, member, prompt) for prompt in (EXPLAIN, DETECT))
        last = [item for prompt in (EXPLAIN, DETECT) for item in last_replies(store, member, prompt).items()]
        return cls(member, named, detected, frozenset(key for key, reply in last if not reply.came))


def _scored(
    store: Store, job: Job, settings: Explaining, pictures: Pictures, answers: Mapping[str, _Answers]
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
    record_cell(
        store, job.cell_id, job.panel.id, by_judge, job.drawn, scores, images=settings.images, seed=settings.seed
    )
    notes = [f"{cell_title}: {sentence}" for sentence in _sentences(job, by_judge)]
    return ExplainedCell(*title, scores.score, scores.control, scores.gap, tuple(notes))


def _sentences(job: Job, by_judge: Mapping[str, Sequence[JudgedUnit]]) -> list[str]:
    n, n_left_out = len(job.drawn.units), job.drawn.n_left_out
    if not n:
        why = "different images among and outside of its top images" if n_left_out else "active top images"
        return [f"none of its units has enough {why}, so it has no score."]
    sentences = []
    if n_left_out:
        were = "1 drawn unit was" if n_left_out == 1 else f"{n_left_out} drawn units were"
        sentences.append(f"{were} left out, with too few different images among or outside of the top images.")
    for member in job.panel.judges:
        units = by_judge[id_of(member)]
        n_named = sum(unit.concept is not None for unit in units)
        if n_missing := sum(unit.n_missing for unit in units):
            sentences.append(f"{n_missing} replies of {member.name} did not come; repeat the command to ask for them.")
        n_scored = sum(unit.detections.balanced_accuracy is not None for unit in units)
        if not n_scored:
            why = "no valid concept" if not n_named else "too few valid answers"
            sentences.append(f"{member.name} gave {why} for any of {n} units, so the method has no score.")
        elif n_scored < n:
            sentences.append(
                f"{n - n_scored} of {n} units have no score by {member.name}: {n - n_named} without a valid concept, "
                "the others with fewer than two valid answers to images of a kind."
            )
    return sentences


def _judged_units(job: Job, answers: _Answers, pictures: Pictures) -> tuple[list[JudgedUnit], int]:
    """Return what a judge answered about each drawn unit, and the number of questions without a stored reply."""
    member = answers.member
    keys = {member.key(question, EXPLAIN) for question in explaining_of(job, pictures)}
    # Without a reply to it, the concept is not invalid but unknown.
    missing = {key for key in keys if key not in answers.named or key in answers.failed}
    concepts = concepts_of(member, job, pictures, answers.named)
    n_failed = [0] * len(concepts)
    votes: list[tuple[list[tuple[bool, str | None]], list[tuple[bool, str | None]]]] = [([], []) for _ in concepts]
    for asked in detecting_of(job, concepts, pictures):
        key = member.key(asked.question, DETECT)
        if key not in answers.detected:
            missing.add(key)
        elif key in answers.failed and not asked.is_control:
            n_failed[asked.unit] += 1
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
            n_missing=failed,
        )
        for unit, concept, (own, of_control), control, failed in zip(
            job.drawn.units, concepts, votes, controls, n_failed, strict=True
        )
    ]
    return units, len(missing)
