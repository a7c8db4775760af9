"""Options of `harness app` that belong to the page Steer."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from app_store import make_store
from command_line import harness

pytest.importorskip("streamlit")

from harness.commands import app as verb
from harness.steering import worker


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--suite", "planted"), "--suite"),
        (("--set", "a=b", "--device", "cpu"), "--set, --device"),
        (("--scale", "tiny"), "--scale"),
        (("--cache", "x"), "--cache"),
    ],
)
def test_options_of_steering_need_it(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    done = harness("app", *arguments, "--port", "8911", cwd=tmp_path, code=2)
    assert f"{named} cannot be used without --steer" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--suite", "dmo"), "Did you mean demo"),
        (("--device", "tpu"), "--device tpu is not available"),
        (("--plugin", "gone.py"), "There is no plugin file"),
        (("--store", "gone.duckdb"), "no results store"),
    ],
)
def test_mistakes_are_answered_before_a_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    make_store(tmp_path / "r.duckdb")
    monkeypatch.setattr(worker, "start_worker", lambda options: pytest.fail("a worker was started"))
    done = harness("app", "--steer", "--port", "8911", "--store", "r.duckdb", *arguments, cwd=tmp_path, code=2)
    assert words in done.stderr


def test_the_server_gets_the_address_and_the_worker_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(tmp_path / "r.duckdb")
    given: dict[str, Any] = {}
    served: dict[str, str] = {}

    class Replaced(Exception):
        pass

    def start(options: dict[str, Any]) -> worker.Worker:
        given.update(json.loads(json.dumps(options)))
        return worker.Worker(process=subprocess.Popen(["true"], text=True), environment={"HARNESS_STEER_PORT": "5"})

    def replace(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        served.update(environment)
        raise Replaced

    monkeypatch.setattr(worker, "start_worker", start)
    monkeypatch.setattr(verb.os, "execve", replace)
    arguments = (
        "--store",
        "r.duckdb",
        "--suite",
        "demo",
        "--set",
        "seeds.tokens=[42]",
        "--cache",
        "c",
        "--device",
        "cpu",
    )
    with pytest.raises(Replaced):
        harness("app", "--steer", *arguments, "--port", "8911", cwd=tmp_path)
    assert given == {
        "store": "r.duckdb",
        "cache": "c",
        "device": "cpu",
        "plugins": [],
        "suite": {"suite": "demo", "settings": ["seeds.tokens=[42]"], "scale": None},
    }
    assert served["HARNESS_STEER_PORT"] == "5" and served["HARNESS_STORE"] == "r.duckdb"
    assert os.environ.get("HARNESS_STEER_PORT") is None
