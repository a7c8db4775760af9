"""Judges that are asked in processes of their own, and do there what their name says."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from judges.base import Judge, Keep, Question, Reply
from judges.gpus import VARIABLE
from judges.grids import Album, Grid, Tile
from judges.judge_process import Assignment, Job
from judges.panel import PANELS, Wanted
from judges.prompt import Prompt, prompt_for
from methods.errors import UserError

#: Replies that are kept together.
TOGETHER = 2
#: Seconds after which a judge stops waiting for another process.
PATIENCE_S = 60.0


class ProcessJudge(Judge):
    """Answers in groups of two; its name says what it does after the second group.

    Args:
        folder: folder in which processes meet and leave notes.
    """

    kind = "processes"
    own_process = True

    def __init__(self, name: str, folder: Path, gpus: int = 1) -> None:
        self.name = name
        self.folder = folder
        self.gpus = gpus

    @property
    def n_gpus(self) -> int:
        return self.gpus

    def __enter__(self) -> ProcessJudge:
        self.note("log", f"enter {self.name}\n")
        self.note(f"process {self.name}", f"{os.getpid()}\n")
        self.note(f"gpus {self.name}", os.environ.get(VARIABLE, "unset"))
        if self.name == "cannot start":
            raise UserError("The model does not fit.")
        return self

    def __exit__(self, *exception: object) -> None:
        self.note("log", f"exit {self.name}\n")

    def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        for start in range(0, len(questions), TOGETHER):
            if start == 2 * TOGETHER and (behaviour := getattr(self, self.name.replace(" ", "_"), None)):
                behaviour()
            keep([self.reply(question, prompt, album) for question in questions[start : start + TOGETHER]])
            self.note(f"kept {self.name}", ".")

    def reply(self, question: Question, prompt: Prompt, album: Album) -> Reply:
        content = {"reasoning_a": "", "reasoning_b": "", "answer": "A"}
        text, reason = json.dumps(content), "stop"
        if self.name == "mumbles":
            text = "no JSON"
        if self.name == "looks":
            try:
                with Image.open(album.file(question.grid_a)) as image:
                    reason = f"{image.size}"
            except Exception as error:
                return Reply(self.key(question, prompt), question.attempt, None, f"error: {error}")
        return Reply(self.key(question, prompt), question.attempt, text, reason)

    # ---- what it does after the second group

    def killed(self) -> None:
        self.start_engine()
        os.kill(os.getpid(), signal.SIGKILL)

    def exits(self) -> None:
        ctypes.CDLL(None)._exit(3)

    def refuses(self) -> None:
        raise UserError("There is no such model.")

    def breaks(self) -> None:
        raise ValueError("boom\nand more")

    def prints(self) -> None:
        print("printed")
        os.write(1, b"written\n")
        subprocess.run(["echo", "echoed"], check=True)

    def hangs(self) -> None:
        self.start_engine()
        self.note("hanging", "now")
        while True:
            time.sleep(1)

    def is_deaf(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.hangs()

    def meets_one(self) -> None:
        self.note("one", "here")
        await_file(self.folder / "two")

    def meets_two(self) -> None:
        self.note("two", "here")
        await_file(self.folder / "one")

    def start_engine(self) -> None:
        """Fork a process that never ends by itself, as vLLM does."""
        engine = os.fork()
        if not engine:
            while True:
                time.sleep(1)
        self.note("engine", f"{engine}\n")

    def note(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)


def await_file(file: Path) -> None:
    """Wait for a file of another process."""
    wait_until(file.exists, f"{file.name} did not appear")


def wait_until(happens: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def is_running(process: int) -> bool:
    """Return True if a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_of(folder: Path) -> list[int]:
    """Return the ids of all processes that judges have noted in a folder."""
    files = [*folder.glob("process *"), *folder.glob("engine")]
    return [int(line) for file in files for line in file.read_text().split()]


class Squares:
    """Images of one colour each; the image 66 is broken."""

    def open(self, index: int) -> Image.Image:
        if index == 66:
            raise OSError("picture 66 is broken\nwith details")
        return Image.new("RGB", (40, 40), (20 * index % 256, 0, 0))


def questions(count: int, first: int = 0) -> list[Question]:
    numbers = range(first, first + count)
    return [Question(Grid((Tile(f"a{number}", number),)), Grid((Tile("b", 255),))) for number in numbers]


def assignment(judge: Judge, keep: Keep, count: int = 6) -> Assignment:
    return Assignment(judge, [Job(questions(count), prompt_for("plain"), keep)])


def _judges_for(wanted: Wanted) -> tuple[Judge, ...]:
    folder = Path(str(wanted.options["folder"]))
    return tuple(ProcessJudge(str(entry["name"]), folder, int(entry.get("gpus", 1))) for entry in wanted.judges)


PANELS.add("processes", _judges_for)
