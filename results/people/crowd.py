"""Exchange with a crowd platform: questions as a CSV file of image pairs, and a CSV file of answers back."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from results.atomic import partial_file
from results.csv_guard import csv_cell, unguarded
from results.errors import StoreError
from results.people.annotators import MAX_ANNOTATORS, annotator_name, annotators
from results.people.ballot import Ballot, Question, grid_file, readable_ballots
from results.people.plain_file import read_bounded
from results.people.standing import standing
from results.people.votes import ANSWERS, MAX_SECONDS, Vote, append_votes, read_votes
from results.replaceable import require_replaceable

QUESTION_COLUMNS = ("question", "image_a", "image_b", "instruction")
ANSWER_COLUMNS = ("question", "annotator", "answer")
OPTIONAL_COLUMNS = ("seconds",)
MAX_BYTES = 256 * 2**20
#: Longest field of a file of answers; no valid one has more.
_MAX_FIELD = 200


def export_questions(folder: Path, ballots: Sequence[Ballot], file: Path, *, absolute: bool = False) -> int:
    """Write the questions of ballots to a CSV file and return their number.

    Args:
        folder: folder of the store.
        ballots: their grids must be drawn.
        file: the CSV file; its folder must exist.
        absolute: write absolute paths of the images instead of paths relative to the file's folder.

    Raises:
        StoreError: the file cannot be written.
    """
    require_export_path(folder, file)
    start = file.expanduser().absolute().parent

    def path(key: str) -> str:
        image = grid_file(folder.absolute(), key)
        return str(image) if absolute else Path(os.path.relpath(image, start)).as_posix()

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(QUESTION_COLUMNS)
    questions = {question: ballot.instruction for ballot in ballots for question in ballot.questions}
    for question, instruction in questions.items():
        row = (question.id, path(question.grid_a), path(question.grid_b), " ".join(instruction.split()))
        writer.writerow([csv_cell(field) for field in row])
    try:
        with partial_file(file.expanduser()) as partial:
            partial.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{file} cannot be written ({error.strerror or error}).") from error
    return len(questions)


def require_export_path(folder: Path, file: Path) -> None:
    """Check that questions may be written to a file.

    Raises:
        StoreError: it is a folder, a device, a pipe or a results store, or is among the votes, ballots or grids of the
            store in `folder`.
    """
    target = require_replaceable(file).resolve()
    for name in ("people", "grids"):
        if target.is_relative_to((folder / name).resolve()):
            raise StoreError(f"{str(file)!r} is in the folder {name}/ of the store; choose another file.")


def import_answers(folder: Path, file: Path) -> dict[str, int]:
    """Append the answers of a CSV file to the votes beside the store in `folder`.

    Answers that an annotator has given before are not repeated, so the same file can be imported again.

    Returns:
        Annotator -> number of answers that are new or changed.

    Raises:
        StoreError: anything in the file is wrong, and nothing was imported; or a file of votes cannot be written.
    """
    ballots = readable_ballots(folder)
    if not ballots:
        raise StoreError("There is no ballot beside the store; export the questions with --export first.")
    questions = {question.id: question for ballot in ballots for question in ballot.questions}
    votes = _votes(_rows(file), file, questions)
    if len({*annotators(folder), *votes}) > MAX_ANNOTATORS:
        raise _wrong(file.name, f"there would be more than {MAX_ANNOTATORS} annotators beside the store")
    fresh: dict[str, list[Vote]] = {}
    for annotator, given in votes.items():
        before = _answers(folder, ballots, annotator)
        fresh[annotator] = [vote for question, vote in given.items() if before.get(question) != vote.action]
    done: list[str] = []
    for annotator, new in fresh.items():
        try:
            if new:
                append_votes(folder, annotator, new)
        except StoreError as error:
            kept = f"The answers of {len(done)} annotators are imported" if done else "Nothing was imported"
            raise StoreError(f"{error} {kept}; import the file again, which repeats no answer.") from error
        done.append(annotator)
    return {annotator: len(new) for annotator, new in fresh.items()}


def _votes(
    rows: Iterator[tuple[int, dict[str, str]]], file: Path, questions: Mapping[str, Question]
) -> dict[str, dict[Question, Vote]]:
    """Return annotator -> question -> vote. Raises StoreError for the first row that is wrong."""
    votes: dict[str, dict[Question, Vote]] = {}
    for number, row in rows:
        where = f"{file.name}, line {number}"
        question = questions.get(row["question"])
        if question is None:
            raise _wrong(where, f"there is no question {row['question']!r} on a ballot beside the store")
        answers = {answer.lower(): answer for answer in ANSWERS}
        answer = answers.get(row["answer"].lower())
        if answer is None:
            raise _wrong(where, f"the answer is {row['answer']!r}; it must be A, B or tie")
        try:
            annotator = annotator_name(row["annotator"])
        except StoreError as error:
            raise _wrong(where, str(error).rstrip(".")) from error
        if question in votes.get(annotator, {}):
            raise _wrong(where, f"{annotator} has answered the question {question.id} in a line before")
        if annotator not in votes and len(votes) == MAX_ANNOTATORS:
            raise _wrong(where, f"there are more than {MAX_ANNOTATORS} annotators in the file")
        vote = Vote(question, answer, _seconds(row.get("seconds", ""), where))
        votes.setdefault(annotator, {})[question] = vote
    return votes


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line of a CSV file with its fields by column."""
    try:
        text = read_bounded(file.expanduser(), MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(f"{file} is not UTF-8; save it as CSV in UTF-8.") from error
    except ValueError as error:
        raise StoreError(f"{file} cannot be read: {error}.") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [unguarded(name.strip()) for name in next(reader, [])]
        _require_columns(header, file)
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            where = f"{file.name}, line {reader.line_num}"
            if len(fields) != len(header):
                raise _wrong(where, f"there are {len(fields)} fields for {len(header)} columns")
            if any(len(field) > _MAX_FIELD for field in fields):
                raise _wrong(where, f"a field has more than {_MAX_FIELD} characters")
            yield reader.line_num, dict(zip(header, (unguarded(field.strip()) for field in fields), strict=True))
    except csv.Error as error:
        raise _wrong(f"{file.name}, line {reader.line_num}", str(error)) from error


def _require_columns(header: Sequence[str], file: Path) -> None:
    missing = [name for name in ANSWER_COLUMNS if name not in header]
    unknown = [name for name in header if name not in (*ANSWER_COLUMNS, *OPTIONAL_COLUMNS)]
    if missing or unknown or len(set(header)) < len(header):
        problem = (
            f"the column {missing[0]} is missing"
            if missing
            else f"there is no column {unknown[0]!r} in a file of answers"
            if unknown
            else "a column occurs twice"
        )
        columns = f"{', '.join(ANSWER_COLUMNS)} and, if known, {', '.join(OPTIONAL_COLUMNS)}"
        raise _wrong(f"{file.name}, line 1", f"{problem}; the columns are {columns}")


def _seconds(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_SECONDS:
        raise _wrong(where, f"seconds is {text!r}; it must be a number from 0 to {MAX_SECONDS:g}, or empty")
    return seconds


def _answers(folder: Path, ballots: Sequence[Ballot], annotator: str) -> dict[Question, str]:
    """Return the answers that an annotator has given to the questions of ballots."""
    votes = read_votes(folder, annotator).votes
    answered: dict[Question, Vote] = {}
    for ballot in ballots:
        answered |= standing(ballot, annotator, votes).answered
    return {question: vote.action for question, vote in answered.items()}


def _wrong(where: str, problem: str) -> StoreError:
    return StoreError(f"{where}: {problem}. Nothing was imported.")
