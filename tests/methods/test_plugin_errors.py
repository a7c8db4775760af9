"""Exceptions, exits, forks and threads of plugin code."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from methods.interrupts import is_interrupt
from methods.plugin_errors import LONGEST_NAME, PluginError, exits_as_exceptions, plugin_call, type_and_text, type_name
from methods.plugin_threads import unfinished_threads, watched_threads
from methods.raw_exceptions import previous_of

ROOT = Path(__file__).parents[2]


class Disguised(BaseException):
    """Exception whose class and attributes cannot be read."""

    __class__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)

    def __bool__(self) -> bool:
        raise SystemExit


def test_an_exception_that_hides_its_parts_is_one_sentence() -> None:
    with (
        pytest.raises(PluginError, match=r"^The method 'x' failed.*: Disguised: text[.]$"),
        plugin_call("The method 'x'"),
    ):
        raise Disguised("text")


def test_an_exception_raised_from_one_that_hides_its_parts_is_no_interrupt() -> None:
    error = ValueError()
    error.__cause__ = Disguised()
    assert previous_of(error) is error.__cause__ and not is_interrupt(error)


def test_the_name_of_a_class_is_bounded_and_on_one_line() -> None:
    long = type("E" * 5000, (Exception,), {})()
    assert len(type_name(long)) == LONGEST_NAME + 3
    assert "\n" not in type_and_text(type("A\n\x1b[2J", (Exception,), {})("text"))


@pytest.mark.parametrize(("leaves", "status"), [("raises", 1), ("exits", 5), ("returns", 0)])
def test_a_forked_child_ends_with_the_context(leaves: str, status: int) -> None:
    child = None
    try:
        with exits_as_exceptions():
            child = os.fork()
            if child == 0 and leaves == "raises":
                raise ValueError
            if child == 0 and leaves == "exits":
                sys.exit(5)
    finally:
        if child == 0:
            os._exit(77)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status


def test_exits_of_overlapping_contexts_are_put_back() -> None:
    real = os._exit
    first, second = exits_as_exceptions(), exits_as_exceptions()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(SystemExit):
        os._exit(3)
    second.__exit__(None, None, None)
    assert os._exit is real


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_thread_that_is_left_is_remembered_until_it_ends(stop: threading.Event) -> None:
    with watched_threads():
        thread = threading.Thread(target=stop.wait)
        thread.start()
        threading.Thread(target=stop.wait, daemon=True).start()
    assert unfinished_threads() == [thread]
    stop.set()
    assert unfinished_threads(10) == []


@pytest.mark.slow
def test_the_command_ends_although_a_thread_of_a_plugin_runs(tmp_path: Path) -> None:
    plugin = "import threading, time\nthreading.Thread(target=time.sleep, args=(300,), name='sleeper').start()\n"
    (tmp_path / "sleeping.py").write_text(plugin)
    command = [sys.executable, "-m", "harness", "check", "sleeping.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "registers nothing" in done.stderr
    assert "ended without waiting for threads of plugins that still run: 'sleeper'" in done.stderr
