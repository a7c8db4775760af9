"""Program of the process in which one judge is asked; :mod:`judges.judge_process` starts it.

It has a session of its own: Ctrl-C in a terminal reaches only the process that started it, which ends it. Standard
output is that of errors, since the output of the first process may be read by programs.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from judges.base import Reply
from judges.grids import Album, Grid
from judges.guarding import opened
from judges.panel import ask, described
from methods.errors import UserError, first_line
from methods.interrupts import interrupting


class DrawingError(Exception):
    """A grid cannot be drawn; the reason is that of the process that has the images."""


class _Parent:
    """Process that started this one: it stores replies and draws grids.

    If it ends, whatever ended it, this process and all that it started are killed: nobody would read their replies, and
    the GPU would stay occupied.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        threading.Thread(target=self._listen, name="answers of the parent", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(self._connection.recv())
        except (EOFError, OSError):
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def keep(self, job: int, replies: Sequence[Reply]) -> None:
        """Store replies to the questions of a job; they are stored when this returns."""
        self._told("replies", job, list(replies))

    def draw(self, grid: Grid) -> None:
        """Draw a grid into the folder of the album.

        Raises:
            DrawingError: it cannot be drawn.
        """
        if problem := self._told("draw", grid):
            raise DrawingError(problem)

    def _told(self, *message: Any) -> str | None:
        # A judge may keep replies in several threads.
        with self._turn:
            self._connection.send(message)
            return self._answers.get()


class FolderAlbum(Album):
    """Album without images: the grids are files, and those that do not exist yet are drawn by the parent."""

    def __init__(self, folder: Path, parent: _Parent) -> None:
        super().__init__(_NoImages(), folder)
        self._parent = parent

    def file(self, grid: Grid) -> Path:
        path = self.path(grid)
        if not path.is_file():
            self._parent.draw(grid)
        return path


class _NoImages:
    """Image source of a process that has none."""

    def open(self, index: int) -> Image.Image:
        raise DrawingError("A judge in a process of its own sees grids as files: use `album.file(grid)`.")


@interrupting
def _stop(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def main(descriptor: int) -> None:
    """Ask the judge that comes through a connection, and send its replies and how it ended.

    Args:
        descriptor: file descriptor of the connection.
    """
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    # An engine that this process starts must not hold the connection: its end shows the parent that this one ended.
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    os.register_at_fork(after_in_child=connection.close)
    try:
        connection.send(("end", _asked(connection)))
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGTERM) from None


def _asked(connection: Connection) -> str | None:
    """Receive a judge and its questions and ask them; return the sentence of the error that ended it, if one did."""
    try:
        judge, jobs, folder = connection.recv()
    except Exception as error:
        return f"The judge cannot be loaded in a process of its own ({first_line(error)})."
    parent = _Parent(connection)
    album = FolderAlbum(folder, parent)
    try:
        with opened(judge, described(judge)):
            for number, (questions, prompt) in enumerate(jobs):
                if questions:
                    ask(judge, questions, prompt, album, partial(parent.keep, number))
    except UserError as error:
        return str(error)
    return None
