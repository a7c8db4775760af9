"""Ballot: the questions of a tournament as people are shown them, in a JSON file beside the store.

It names grids by their content and contains no method, cell or unit, so that nothing on the page can reveal them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from results.atomic import partial_file
from results.errors import StoreError
from results.people.plain_file import read_bounded

FORMAT = 1
#: Bounds of a ballot from anywhere; a question is about 55 bytes.
MAX_BYTES = 64 * 2**20
MAX_QUESTIONS = 500_000
MAX_INSTRUCTION = 4000
MAX_TITLE = 200
#: Most ballots that are listed.
MAX_BALLOTS = 200
_ID = re.compile(r"[0-9a-z]{1,64}")
_GRID = re.compile(r"[0-9a-z]{1,40}")
_VERSION = re.compile(r"[!-~]{1,40}")


class Question(NamedTuple):
    """Two grids in the order in which they are shown, and the version of the instruction."""

    prompt_version: str
    grid_a: str
    grid_b: str

    @property
    def id(self) -> str:
        """16 hexadecimal digits that identify the question, on every ballot on which it occurs."""
        return hashlib.blake2b("|".join(self).encode(), digest_size=8).hexdigest()


# Compared by identity: half a million questions would be hashed at every look-up in a cache.
@dataclasses.dataclass(frozen=True, eq=False)
class Ballot:
    """Questions of one tournament.

    Attributes:
        tournament: id of the tournament in the store.
        title: layer on which the methods are compared.
        prompt_version: version of the instruction.
        instruction: text that is shown on the page.
        questions: all questions, in an order that says nothing about the methods.
    """

    tournament: str
    title: str
    prompt_version: str
    instruction: str
    questions: tuple[Question, ...]

    @cached_property
    def question_set(self) -> frozenset[Question]:
        return frozenset(self.questions)


def ballot_of(
    tournament: str, title: str, prompt_version: str, instruction: str, grids: list[tuple[str, str]]
) -> Ballot:
    """Return the ballot of pairs of grids; each question occurs once."""
    questions = {Question(prompt_version, *pair) for pair in grids}
    return Ballot(
        tournament,
        title[:MAX_TITLE],
        prompt_version,
        instruction,
        tuple(sorted(questions, key=lambda question: question.id)),
    )


def grid_file(folder: Path, key: str) -> Path:
    """Return the path of the picture of a grid (as :class:`judges.grids.Album` names it) beside a store."""
    return folder / "grids" / key[:2] / f"{key}.jpg"


def write_ballot(folder: Path, ballot: Ballot) -> Path:
    """Write a ballot beside the store in `folder` and return its path.

    Raises:
        StoreError: it has too many questions, or the file cannot be written.
    """
    if len(ballot.questions) > MAX_QUESTIONS:
        raise StoreError(
            f"{len(ballot.questions)} questions are too many for people (at most {MAX_QUESTIONS}); give fewer --pairs."
        )
    document = {
        "format": FORMAT,
        "tournament": ballot.tournament,
        "title": ballot.title,
        "prompt_version": ballot.prompt_version,
        "instruction": ballot.instruction,
        "questions": [[question.grid_a, question.grid_b] for question in ballot.questions],
    }
    path = _path(folder, ballot.tournament)
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"The ballot {path} cannot be written ({error.strerror or error}).") from error
    return path


def ballot_ids(folder: Path) -> list[str]:
    """Return the ids of the ballots beside a store, the newest first; other files are ignored."""
    try:
        files = [path for path in (folder / "people" / "ballots").iterdir() if path.suffix == ".json"]
        files = [path for path in files if _ID.fullmatch(path.stem) and path.is_file()]
        files.sort(key=lambda path: (-path.stat().st_mtime_ns, path.stem))
    except OSError:
        return []
    return [path.stem for path in files[:MAX_BALLOTS]]


def read_ballot(folder: Path, tournament: str) -> Ballot:
    """Return a ballot beside a store.

    Raises:
        StoreError: there is none, or it is no ballot of this version.
    """
    path = _path(folder, tournament) if _ID.fullmatch(tournament) else None
    if path is None or not path.is_file():
        raise StoreError("There is no ballot of this tournament beside the store.")
    status = path.stat()
    return _read(path, tournament, status.st_mtime_ns, status.st_size)


def readable_ballots(folder: Path) -> list[Ballot]:
    """Return the ballots beside a store, the newest first, without those that cannot be read."""
    ballots = []
    for name in ballot_ids(folder):
        with contextlib.suppress(StoreError):
            ballots.append(read_ballot(folder, name))
    return ballots


# A page reads its ballot at every vote.
@lru_cache(maxsize=4)
def _read(path: Path, tournament: str, stamp: int, size: int) -> Ballot:
    try:
        document = json.loads(read_bounded(path, MAX_BYTES))
        return _checked(document, tournament)
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"The ballot {path.name} cannot be read ({error}); repeat `harness judge --panel people` to write it again."
        ) from error


def _checked(document: Any, tournament: str) -> Ballot:
    """Return a ballot from JSON. Raises ValueError with the reason if it is none."""
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    if document.get("format") != FORMAT or isinstance(document["format"], bool):
        raise ValueError(f"its format is not {FORMAT}")
    if document.get("tournament") != tournament:
        raise ValueError("it belongs to another tournament")
    title, instruction = (
        _text(document, key, most) for key, most in (("title", MAX_TITLE), ("instruction", MAX_INSTRUCTION))
    )
    version = _text(document, "prompt_version", 40)
    if not _VERSION.fullmatch(version):
        raise ValueError("prompt_version is no version")
    pairs = document.get("questions")
    if not isinstance(pairs, list) or len(pairs) > MAX_QUESTIONS:
        raise ValueError(f"questions is no list of at most {MAX_QUESTIONS} pairs of grids")
    questions = []
    for pair in pairs:
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(grid, str) and _GRID.fullmatch(grid) for grid in pair)
        ):
            raise ValueError("an entry of questions is no pair of grids")
        questions.append(Question(version, *pair))
    if len(set(questions)) < len(questions):
        raise ValueError("a question occurs twice")
    return Ballot(tournament, title, version, instruction, tuple(questions))


def _text(document: dict[str, Any], key: str, most: int) -> str:
    value = document.get(key)
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{key} is no text of at most {most} characters")
    return value


def _path(folder: Path, tournament: str) -> Path:
    return folder / "people" / "ballots" / f"{tournament}.json"
