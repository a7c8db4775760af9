"""Process in which one judge is asked, as seen by the one that starts it; :mod:`judges.judge_program` runs there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NamedTuple

from judges.base import Judge, Keep, Question, Reply
from judges.gpus import VARIABLE
from judges.grids import Album, Grid
from judges.panel import described
from judges.prompt import Prompt
from methods.errors import first_line

#: Seconds that a judge has to remove its model when it is told to stop, and its process to end after its last message.
GRACE_S = 10.0
#: Seconds that processes started by the judge's process have to end after it; they are killed then.
REST_S = 2.0

#: Messages of libraries belong to standard error, since standard output may be read by programs.
_STDERR = 2
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from judges.judge_program import main; main(int(sys.argv[2]))"
)


class Job(NamedTuple):
    """Questions of one contest to a judge."""

    questions: Sequence[Question]
    prompt: Prompt
    keep: Keep
    """stores the replies; called in this process"""


class Assignment(NamedTuple):
    """Judge with the questions of all contests: its model is loaded once."""

    judge: Judge
    jobs: Sequence[Job]


class JudgeProcess:
    """One judge in a process of its own, with a session of its own, so that Ctrl-C in a terminal does not reach it.

    Args:
        assignment: the judge and its questions.
        gpus: names of the GPUs that it has.
        sees_others: true if there are more GPUs, which it must not see.
    """

    def __init__(self, assignment: Assignment, gpus: Sequence[str], *, sees_others: bool) -> None:
        self.judge, self._jobs = assignment
        self.gpus = tuple(gpus)
        self.failure: str | None = None
        """sentence of the error that ended it"""
        self.is_over = False
        """true if nothing more comes from it"""
        self.n_kept = 0
        self.connection, self._theirs = Pipe()
        self._environment = {**os.environ, VARIABLE: ",".join(gpus)} if sees_others else dict(os.environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._unkept: tuple[int, Sequence[Reply]] | None = None
        """replies that have come, until they are kept"""
        self._is_torn = False
        """true while a message is read: after an interruption, the connection is not read on from its middle"""

    def start(self, folder: Path) -> int | None:
        """Start the process and send the judge and its questions to it; return its id, or None if it has failed.

        Args:
            folder: folder of the grids.
        """
        try:
            job = ForkingPickler.dumps(
                (self.judge, [(list(job.questions), job.prompt) for job in self._jobs], folder.absolute())
            )
        except Exception as error:  # whatever the judge's attributes raise
            self._fail(f"{described(self.judge)} cannot be sent to a process of its own ({first_line(error)}).")
            return None
        command = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(self._theirs.fileno())]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                env=self._environment,
                pass_fds=[self._theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            self._fail(f"{described(self.judge)} cannot have a process of its own ({first_line(error)}).")
            return None
        self._theirs.close()
        # If it has died at once, the end of the connection is seen later.
        with suppress(OSError):
            self.connection.send_bytes(job)
        return self._process.pid

    def has_news(self) -> bool:
        """Return True if it has sent something or has ended."""
        return self.is_over or self.connection.poll() or self._exit_code() is not None

    def take(self, album: Album) -> None:
        """Read one message and do what it asks for: keep replies, draw a grid, or note the end."""
        if self.is_over:
            return
        try:
            message = self._read()
        except (EOFError, OSError):
            self._fail(self._death())
            return
        kind, *content = message
        if kind == "replies":
            self._unkept = content[0], content[1]
            self._keep()
            self._answer(None)
        elif kind == "draw":
            self._answer(_drawing_problem(album, content[0]))
        else:
            self.failure, self.is_over = content[0], True

    def keep_rest(self) -> None:
        """Keep the replies that have come and are not kept, after an interruption."""
        with suppress(Exception):  # the interruption is what the user is told about
            if self._unkept is not None:
                self._keep()
            while not self.is_over and not self._is_torn and self.connection.poll():
                kind, *content = self._read()
                if kind == "replies":
                    self._unkept = content[0], content[1]
                    self._keep()

    def stop(self) -> None:
        """Tell the judge to remove its model and end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait for the end of the process, at most :data:`GRACE_S` seconds."""
        self._exit_code(GRACE_S)

    def end(self) -> None:
        """End the process if it still runs, and all processes that it has started."""
        try:
            if self._process is not None:
                _end_group(self._process)
        finally:
            self.connection.close()
            self._theirs.close()

    def _read(self) -> Any:
        if not self.connection.poll():
            raise EOFError
        self._is_torn = True
        message = self.connection.recv()
        self._is_torn = False
        return message

    def _keep(self) -> None:
        assert self._unkept is not None
        job, replies = self._unkept
        self._jobs[job].keep(replies)
        self._unkept = None
        self.n_kept += len(replies)

    def _answer(self, problem: str | None) -> None:
        # If it has died meanwhile, the end of the connection is seen at the next message.
        with suppress(OSError):
            self.connection.send(problem)

    def _fail(self, sentence: str) -> None:
        self.failure, self.is_over = sentence, True

    def _exit_code(self, patience_s: float = 0.0) -> int | None:
        """Return how the process has ended, after waiting for it; None if it runs."""
        if self._process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(patience_s)
        return None

    def _death(self) -> str:
        """Return the sentence for a process that has ended without saying why."""
        code = self._exit_code(GRACE_S)
        if code is None:
            how = "closed its connection"
        elif code >= 0:
            how = f"ended with exit code {code}; the reason may stand in the log above"
        else:
            number = -code
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            how = f"was killed by {name}" + (", often because memory ran out" if number == signal.SIGKILL else "")
        return (
            f"{described(self.judge)} gives no more replies: its process {how}. The {self.n_kept} replies that came "
            "before are stored; repeat the command to ask the rest."
        )


def _drawing_problem(album: Album, grid: Grid) -> str | None:
    """Draw the file of a grid; return the reason if that is impossible."""
    try:
        album.file(grid)
    except Exception as error:  # a broken image, whose question is left without a reply
        return first_line(error)
    return None


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process and those it has started, and wait until they are gone: they hold the GPU."""
    if leader.poll() is not None and _is_gone(leader.pid, REST_S):
        return
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
    _is_gone(leader.pid, REST_S)


def _is_gone(group: int, patience_s: float) -> bool:
    """Return True if no process of a group is left, after waiting for it."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
