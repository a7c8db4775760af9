"""Settings of the process are put back after code of a plugin, whatever it changed."""

from __future__ import annotations

import builtins
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from methods.descriptors import kept_descriptors
from methods.process_state import restored


def block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def trace() -> None:
    sys.settrace(lambda *_: None)


def virtual_timer() -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, 1000)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (block_signals, "the blocked signals"),
        (ignore_interrupts, "the handler of SIGINT"),
        (trace, "the trace function"),
        (virtual_timer, "the timer of signals"),
    ],
)
@pytest.mark.parametrize("brief", [True, False])
def test_a_changed_setting_is_named_and_put_back(change: Callable[[], None], name: str, brief: bool) -> None:
    changes: list[str] = []
    handler, traced = signal.getsignal(signal.SIGINT), sys.gettrace()
    with restored(changes, brief=brief):
        change()
    assert changes == [name]
    assert signal.getsignal(signal.SIGINT) is handler and sys.gettrace() is traced
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


def test_broken_built_in_functions_are_put_back_first() -> None:
    changes: list[str] = []
    length, folder = len, Path.cwd()
    with restored(changes):
        for name in ("len", "isinstance", "type", "vars", "set", "getattr", "open"):
            builtins.__dict__[name] = None
        builtins.__dict__["added_by_a_plugin"] = 1
    assert len is length and Path.cwd() == folder and not hasattr(builtins, "added_by_a_plugin")
    assert changes == ["Python's built-in functions"]


def test_other_settings_are_put_back_if_one_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = sys.getrecursionlimit()

    def refuse(*_: object) -> None:
        raise OSError("no handler")

    with pytest.raises(OSError, match="no handler"), restored():
        ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
        monkeypatch.setattr(signal, "signal", refuse)
        sys.setrecursionlimit(limit + 7)
    monkeypatch.undo()
    signal.signal(signal.SIGINT, ignored)
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("opens", [False, True])
def test_a_closed_descriptor_is_opened_again(opens: bool, tmp_path: Path) -> None:
    before = os.fstat(1)
    changes: list[str] = []
    with kept_descriptors(changes):
        os.close(1)
        if opens:
            assert os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT) == 1
    after = os.fstat(1)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
    assert changes == ["the file of standard output"]


def test_descriptors_are_not_leaked() -> None:
    lowest = os.dup(0)
    os.close(lowest)
    with kept_descriptors():
        pass
    assert os.dup(0) == lowest
    os.close(lowest)
