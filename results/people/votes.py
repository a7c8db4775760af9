"""Votes of annotators: one file per annotator, one JSON object per line, only ever appended to.

The last line about a question counts. So an undone vote is a line as well, and no vote that was cast is lost. A line is
written with one call and flushed to the disk before the next pair is shown; several tabs and processes may append.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from results.errors import StoreError
from results.people.annotators import MAX_ANNOTATORS, SUFFIX, annotator_name, annotators, votes_folder
from results.people.ballot import Question
from results.people.plain_file import open_plain, read_bounded

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

A, B, TIE, SKIP, UNDO = "A", "B", "tie", "skip", "undo"
#: What a line can say of a question. The first three are answers; the others leave it open.
ACTIONS = (A, B, TIE, SKIP, UNDO)
ANSWERS = (A, B, TIE)

#: Bounds of a file of votes from anywhere; a line is about 150 bytes.
MAX_BYTES = 64 * 2**20
MAX_LINE = 500
#: Longest time for one vote that is believed, in seconds: a day.
MAX_SECONDS = 86_400.0

# Threads of the app: locks of files are per process on some systems.
_IN_PROCESS = threading.Lock()


class Vote(NamedTuple):
    """Action of an annotator on a question."""

    question: Question
    action: str
    """one of `ACTIONS`"""
    seconds: float | None = None
    """time for which the pair was shown, if known"""
    at: datetime | None = None
    """when it was cast"""


class VoteFile(NamedTuple):
    """Content of a file of votes."""

    votes: tuple[Vote, ...]
    """in the order in which they were cast"""
    bad_lines: tuple[int, ...] = ()
    """numbers of the lines that are no votes, from 1"""


def read_votes(folder: Path, annotator: str) -> VoteFile:
    """Return the votes of an annotator beside the store in `folder`; empty if there are none.

    Raises:
        StoreError: the file cannot be read, or is too large.
    """
    path = _path(folder, annotator)
    try:
        status = path.lstat()
    except OSError:
        return VoteFile(())
    try:
        return _read(path, status.st_mtime_ns, status.st_size)
    except ValueError as error:
        raise StoreError(f"The votes of {annotator} in {path} cannot be read: {error}.") from error


def bad_lines_sentence(annotator: str, file: VoteFile) -> str | None:
    """Return a sentence on the lines of a file that are no votes; None if there are none."""
    if not file.bad_lines:
        return None
    n, first = len(file.bad_lines), ", ".join(map(str, file.bad_lines[:5]))
    more = ", ..." if n > 5 else ""
    file_name = f"{annotator}{SUFFIX}"
    lines = f"1 line of {file_name} is no vote and was" if n == 1 else f"{n} lines of {file_name} are no votes and were"
    return f"{lines} ignored (line {first}{more})."


def append_votes(folder: Path, annotator: str, votes: Sequence[Vote]) -> None:
    """Append votes to the file of an annotator, on the disk when this returns.

    Raises:
        StoreError: they cannot be written, the file would be too large, or there are too many annotators.
    """
    annotator = annotator_name(annotator)
    path = _path(folder, annotator)
    text = "".join(_line(vote) for vote in votes).encode()
    if not path.exists() and len(annotators(folder)) >= MAX_ANNOTATORS:
        raise StoreError(f"{MAX_ANNOTATORS} annotators have voted on this store, which is the most there may be.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _IN_PROCESS, _appending(path) as handle:
            size = os.lseek(handle, 0, os.SEEK_END)
            if size + len(text) > MAX_BYTES:
                raise ValueError(f"it would be larger than {MAX_BYTES} bytes")
            # What a full disk or a crash left of a line must not join the next one.
            if size:
                os.lseek(handle, size - 1, os.SEEK_SET)
                text = text if os.read(handle, 1) == b"\n" else b"\n" + text
            try:
                _write(handle, text)
                os.fsync(handle)
            except OSError:
                # The page says that the vote was not saved, so no part of it may stay.
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StoreError(f"The vote was not saved: {path} cannot be written ({reason}).") from error


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[int]:
    """Open a file for appending, locked against other processes where the system has such locks."""
    handle = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        if fcntl is not None:
            # A file system without locks: a line is one write, which is whole on a local disk.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _write(handle: int, text: bytes) -> None:
    written = os.write(handle, text)
    while written < len(text):
        written += os.write(handle, text[written:])


def _line(vote: Vote) -> str:
    at = vote.at or datetime.now(UTC)
    seconds = vote.seconds if vote.seconds is not None and 0 <= vote.seconds <= MAX_SECONDS else None
    content = {
        "prompt": vote.question.prompt_version,
        "a": vote.question.grid_a,
        "b": vote.question.grid_b,
        "answer": vote.action,
        "seconds": None if seconds is None else round(seconds, 2),
        "at": at.astimezone(UTC).isoformat(timespec="milliseconds"),
    }
    return json.dumps(content, separators=(",", ":")) + "\n"


@lru_cache(maxsize=64)
def _read(path: Path, stamp: int, size: int) -> VoteFile:
    """Return the content of a file; `stamp` and `size` are those of its last change. Raises ValueError."""
    content = read_bounded(path, MAX_BYTES)
    votes: list[Vote] = []
    bad: list[int] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        vote = _parsed(line)
        if vote is None:
            bad.append(number)
        else:
            votes.append(vote)
    return VoteFile(tuple(votes), tuple(bad))


def _parsed(line: bytes) -> Vote | None:
    """Return the vote of a line, or None if it is none."""
    if len(line) > MAX_LINE:
        return None
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("answer") not in ACTIONS:
        return None
    parts = [part for name in ("prompt", "a", "b") if isinstance(part := content.get(name), str) and part]
    if len(parts) < 3:
        return None
    return Vote(Question(*parts), content["answer"], _seconds(content.get("seconds")), _moment(content.get("at")))


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= MAX_SECONDS else None


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _path(folder: Path, annotator: str) -> Path:
    return votes_folder(folder) / f"{annotator_name(annotator)}{SUFFIX}"
