"""Judges in processes of their own: replies, deaths, interruptions, GPUs, and nothing that is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from paths import ROOT
from process_judges import (
    ProcessJudge,
    Squares,
    assignment,
    await_file,
    is_running,
    processes_of,
    questions,
    wait_until,
)

from judges import judge_process
from judges.base import Reply
from judges.grids import Album, Grid, Tile
from judges.judge_process import Assignment, Job
from judges.processes import ask_in_processes, require_gpus
from judges.prompt import prompt_for
from methods.errors import UserError
from results import StoreError

pytestmark = pytest.mark.run


class Asked:
    """Replies and messages of judges that are asked in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: list[Reply] = []
        self.said: list[str] = []
        self.failures: list[str] = []

    def ask(self, *judges: ProcessJudge, count: int = 6) -> Asked:
        return self.give(*(assignment(judge, self.keep, count) for judge in judges))

    def give(self, *assignments: Assignment) -> Asked:
        self.failures = ask_in_processes(assignments, Album(Squares(), self.folder / "grids"), self.said.append)
        return self

    def judge(self, name: str, gpus: int = 1) -> ProcessJudge:
        return ProcessJudge(name, self.folder, gpus)

    def keep(self, replies: Sequence[Reply]) -> None:
        self.kept.extend(replies)

    def of(self, name: str) -> list[Reply]:
        return [reply for reply in self.kept if reply.key.judge.startswith(f"processes/{name}#")]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setattr("judges.processes.visible_gpus", lambda: ())
    return Asked(tmp_path)


def nothing_runs(folder: Path) -> None:
    processes = processes_of(folder)
    assert processes
    for process in processes:
        wait_until(lambda process=process: not is_running(process), f"{process} is left")


def test_replies_come_from_another_process_and_all_contests_from_one(asked: Asked) -> None:
    jobs = [Job(questions(5, first), prompt_for("plain"), asked.keep) for first in (0, 5)]
    asked.give(Assignment(asked.judge("plain"), jobs))
    assert not asked.failures and len({reply.key for reply in asked.kept}) == len(asked.kept) == 10
    assert all(reply.verdict.answer == "A" for reply in asked.kept)
    [process] = processes_of(asked.folder)
    assert process != os.getpid() and (asked.folder / "log").read_text() == "enter plain\nexit plain\n"
    assert asked.said == [
        f"plain starts in process {process}.",
        "plain has ended; 10 replies are stored.",
    ]
    nothing_runs(asked.folder)


def test_invalid_replies_are_asked_again_there(asked: Asked) -> None:
    asked.ask(asked.judge("mumbles"), count=3)
    assert sorted(reply.attempt for reply in asked.kept) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_judge_goes_on_when_its_replies_are_stored(asked: Asked) -> None:
    """If the store fails, it has not been told that they are."""

    def fails(replies: Sequence[Reply]) -> None:
        if asked.kept:
            raise StoreError("The disk is full.")
        asked.keep(replies)

    with pytest.raises(StoreError, match="disk is full"):
        asked.give(Assignment(asked.judge("plain"), [Job(questions(6), prompt_for("plain"), fails)]))
    assert len(asked.kept) == 2 and (asked.folder / "kept plain").read_text() == "."
    nothing_runs(asked.folder)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("killed", "gives no more replies: its process was killed by SIGKILL, often because memory ran out. The 4 "),
        ("exits", "gives no more replies: its process ended with exit code 3; the reason may stand in the log above. "),
        ("refuses", "There is no such model."),
        ("breaks", "failed in ask: ValueError: boom and more. The replies that came before are stored; repeat"),
        ("cannot start", "The model does not fit."),
    ],
)
def test_a_judge_that_ends_early_is_one_sentence_and_the_next_is_asked(asked: Asked, name: str, sentence: str) -> None:
    asked.ask(asked.judge(name), asked.judge("plain"))
    [failure] = asked.failures
    assert (
        sentence in failure and "\n" not in failure and "repeat" in failure + ("repeat" if failure == sentence else "")
    )
    assert len(asked.of(name)) == (0 if name == "cannot start" else 4) and len(asked.of("plain")) == 6
    nothing_runs(asked.folder)


def test_a_judge_that_cannot_be_sent_is_one_sentence(asked: Asked) -> None:
    local, lost = asked.judge("plain"), asked.judge("plain")
    local.lock = threading.Lock()  # type: ignore[attr-defined]
    kind = type("Lost", (ProcessJudge,), {"__module__": "a_plugin"})
    lost.__class__ = kind
    asked.ask(local, asked.judge("breaks"))
    assert len(asked.failures) == 2
    assert asked.failures[0].startswith(
        "The judge 'plain' of the panel 'processes' cannot be sent to a process of its own"
    )
    module = type(sys)("a_plugin")
    module.Lost = kind  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "a_plugin", module)
        asked.ask(lost)
    [failure] = asked.failures
    assert failure.startswith(
        "The judge cannot be loaded in a process of its own (ModuleNotFoundError: No module named"
    )


def test_grids_are_drawn_by_this_process_and_a_broken_image_is_that_reply_alone(asked: Asked) -> None:
    shown = [*questions(3), *questions(1, first=66)]
    asked.give(Assignment(asked.judge("looks"), [Job(shown, prompt_for("plain"), asked.keep)]))
    assert not asked.failures
    assert [reply.finish_reason for reply in asked.kept if reply.came] == ["(1008, 1008)"] * 3
    [missing] = [reply for reply in asked.kept if not reply.came]
    assert missing.finish_reason == "error: OSError: picture 66 is broken"
    assert Album(Squares(), asked.folder / "grids").path(Grid((Tile("a0", 0),))).is_file()


def start_parent(folder: Path, *names: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "tests" / "support" / "parent_of_judges.py"), str(folder), *names]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_standard_output_is_left_to_the_first_process(tmp_path: Path) -> None:
    out, errors = start_parent(tmp_path, "prints").communicate()
    assert json.loads(out) == {"failures": [], "said": 2}
    assert {"printed", "written", "echoed"} <= set(errors.split())


def test_a_judge_and_its_engine_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with start_parent(tmp_path, "hangs") as parent:
        await_file(tmp_path / "hanging")
        assert len(processes_of(tmp_path)) == 2 and all(map(is_running, processes_of(tmp_path)))
        parent.kill()
    nothing_runs(tmp_path)
    assert len((tmp_path / "replies").read_text().splitlines()) == 4


@pytest.mark.parametrize("name", ["hangs", "is deaf"])
def test_ctrl_c_keeps_the_replies_and_ends_judge_and_engine(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(judge_process, "GRACE_S", 0.5 if name == "is deaf" else 60.0)

    def interrupt() -> None:
        await_file(asked.folder / "hanging")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        asked.ask(asked.judge(name))
    thread.join()
    assert len(asked.kept) == 4 and len(processes_of(asked.folder)) == 2
    # One that hears it removes its model; the other is killed.
    assert ("exit" in (asked.folder / "log").read_text()) == (name == "hangs")
    nothing_runs(asked.folder)


def test_replies_that_are_being_kept_at_an_interruption_are_kept(asked: Asked) -> None:
    calls: list[int] = []

    def keep(replies: Sequence[Reply]) -> None:
        calls.append(len(replies))
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        asked.keep(replies)

    with pytest.raises(KeyboardInterrupt):
        asked.give(Assignment(asked.judge("plain"), [Job(questions(20), prompt_for("plain"), keep)]))
    assert len(asked.kept) == 4 == len({reply.key for reply in asked.kept})
    nothing_runs(asked.folder)


def test_two_judges_at_a_time_on_a_gpu_each(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits until the other is there, so that neither would end alone."""
    monkeypatch.setattr("judges.processes.visible_gpus", lambda: ("GPU-17", "3"))
    asked.ask(asked.judge("meets one"), asked.judge("meets two"), asked.judge("plain"))
    assert not asked.failures and len(asked.kept) == 18
    assert (asked.folder / "gpus meets one").read_text() == "GPU-17"
    assert (asked.folder / "gpus meets two").read_text() == "3"
    assert (asked.folder / "gpus plain").read_text() in ("GPU-17", "3")
    assert asked.said[0].endswith("on GPU GPU-17.") and asked.said[1].endswith("on GPU 3.")


def test_a_model_on_all_gpus_runs_alone_in_an_environment_that_is_left_alone(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("judges.processes.visible_gpus", lambda: ("0", "1", "2"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asked.ask(asked.judge("wide", 3), asked.judge("pair", 2), asked.judge("plain"))
    assert {name: (asked.folder / f"gpus {name}").read_text() for name in ("wide", "pair", "plain")} == {
        "wide": "unset",
        "pair": "0,1",
        "plain": "2",
    }
    assert (asked.folder / "log").read_text().startswith("enter wide\nexit wide\n")


def test_without_a_gpu_one_after_the_other(asked: Asked) -> None:
    asked.ask(*(asked.judge(name) for name in ("a", "b", "c")))
    assert (asked.folder / "log").read_text() == "".join(f"enter {name}\nexit {name}\n" for name in "abc")
    assert len(asked.kept) == 18


def test_more_gpus_than_there_are_is_one_sentence_before_anything_starts(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("judges.processes.visible_gpus", lambda: ("0", "1"))
    with pytest.raises(
        UserError, match=r"^The judge 'wide' of the panel 'processes' needs 4 GPUs, and this process sees 2"
    ):
        asked.ask(asked.judge("plain"), asked.judge("wide", 4))
    assert not asked.said and not asked.kept
    # A CPU has no GPUs to count.
    require_gpus([asked.judge("wide", 4)], ())
