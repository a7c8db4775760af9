"""One check and what came of it: how every kind of plugin is checked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from methods.errors import UserError
from methods.registry import is_plugin_module

C = TypeVar("C")


class Finding(NamedTuple):
    """One check and what came of it."""

    check: str
    ok: bool
    why: str = ""
    """one sentence where it failed, or why it does not apply, or what was seen"""
    applies: bool = True


class NotApplicable(Exception):
    """Raised by a check that means nothing for what is checked; its text says why."""


def require(holds: bool, why: str) -> None:
    """Raises AssertionError with the sentence that explains what is wrong and how to mend it."""
    if not holds:
        raise AssertionError(why)


def run(name: str, check: Callable[[], Any]) -> Finding:
    """Carry out one check; what it returns, if it is a text, is what was seen."""
    try:
        seen = check()
    except NotApplicable as reason:
        return Finding(name, True, str(reason), applies=False)
    except AssertionError as failure:
        return Finding(name, False, str(failure) or f"An assertion fails{where(failure)}.")
    except UserError as error:
        return Finding(name, False, str(error))
    except Exception as error:
        return Finding(name, False, f"It raises {type(error).__name__}: {_sentence(error)}{where(error)}")
    return Finding(name, True, seen if isinstance(seen, str) else "")


def run_all(checks: Mapping[str, Callable[[C], Any]], of: C) -> list[Finding]:
    """Every check of a table on one thing."""
    return [run(name, lambda check=check: check(of)) for name, check in checks.items()]  # type: ignore[misc]


def where(error: BaseException) -> str:
    """`` (line N of FILE)``, from the innermost frame of the traceback that lies in a plugin; empty if none does."""
    found = ""
    frame = error.__traceback__
    while frame is not None:
        if is_plugin_module(frame.tb_frame.f_globals.get("__name__", "")):
            found = f" (line {frame.tb_lineno} of {Path(frame.tb_frame.f_code.co_filename).name})"
        frame = frame.tb_next
    return found


def _sentence(error: BaseException) -> str:
    """The first line of what an exception says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


@contextmanager
def other_globals(seed: int) -> Iterator[None]:
    """Inside, the global generators are in the state of `seed`; outside, in the one they were in."""
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)  # noqa: NPY002
