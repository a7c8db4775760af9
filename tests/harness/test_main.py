"""Entry point: Ctrl-C during the imports of the command line."""

from __future__ import annotations

import builtins
import runpy
import sys
from typing import Any

import pytest


def test_an_interrupted_import_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    usual = builtins.__import__

    def interrupted(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "harness.cli":
            raise KeyboardInterrupt
        return usual(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    monkeypatch.setattr(sys, "argv", ["harness", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("harness", run_name="__main__")
    assert end.value.code == 130
    assert capsys.readouterr().err == "harness: interrupted before anything was started.\n"


def test_the_command_line_runs(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("harness", run_name="__main__")
    assert end.value.code == 0 and capsys.readouterr().out.startswith("harness ")
