"""Dispatch of cells to Ray when workers die, without Ray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.executors.base import TargetWork, Work
from harness.executors.ray_dispatch import Cluster, Dispatch, _Job


class TaskError(Exception):
    """As Ray's own: it carries what the task raised."""

    def __init__(self, cause: Exception | None) -> None:
        super().__init__("" if cause is None else f"a long account of {cause}")
        self.cause = cause


class Other(Exception):
    pass


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        (ValueError("first line\nwhat it was"), "what it was"),
        (AssertionError(), "it raised AssertionError."),
        (OSError("  \n "), "it raised OSError."),
        (None, "it raised TaskError."),
    ],
)
def test_a_task_that_raises_without_a_word_costs_an_attempt_and_not_the_run(cause: Exception | None, why: str) -> None:
    errors = SimpleNamespace(
        RayTaskError=TaskError, TaskUnschedulableError=Other, RuntimeEnvSetupError=Other, RayError=TaskError
    )

    def get(reference: object) -> Any:
        raise TaskError(cause)

    said: list[str] = []
    work = SimpleNamespace(targets=(), reporter=SimpleNamespace(say=said.append))
    cluster = Cluster(nodes=1, cpus=2, memory=1, workers=2, threads=1, gpu_share=0.0)
    dispatch = Dispatch(SimpleNamespace(exceptions=errors, get=get), cluster, cast(Work, work), retries=1)
    job = _Job(cast(TargetWork, SimpleNamespace(prepared=SimpleNamespace(title="a layer"), cells=())), None, 0)
    assert list(dispatch._take(job, object())) == []
    assert said == [f"  a layer: {why} Attempt 2 of 2 follows."] and list(dispatch.unopened) == [job]
