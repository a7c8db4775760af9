"""Running of checks and their findings, common to every kind of plugin."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from methods.errors import UserError
from methods.interrupts import is_interrupt, raise_interrupt, recognisable_interrupts
from methods.plugin_errors import exits_as_exceptions, failing_threads, has_text, text_of, type_and_text
from methods.plugin_files import is_plugin_module
from methods.process_state import restored
from methods.raw_exceptions import is_a, traceback_of

C = TypeVar("C")


#: Most characters of an exception of the plugin in a finding.
LONGEST_WHY = 500


class Finding(NamedTuple):
    """Result of one check."""

    check: str
    ok: bool
    why: str = ""
    """one sentence: the failure, the reason why the check does not apply, or what was observed"""
    applies: bool = True


class NotApplicable(Exception):
    """Exception of a check that does not apply to the checked object; its text gives the reason."""


def require(holds: bool, why: str) -> None:
    """Raise AssertionError unless ``holds``, with the sentence that explains what is wrong and how to fix it."""
    if not holds:
        raise AssertionError(why)


def require_json(value: Any, subject: str) -> None:
    """Raise AssertionError unless ``value`` is plain JSON; ``subject`` starts the sentence (``params contains``)."""
    try:
        json.dumps(value)
    except (TypeError, ValueError) as problem:
        raise AssertionError(f"{subject} values that JSON cannot store ({problem}).") from problem


def require_shape(function: str, output: torch.Tensor, meaning: str, expected: tuple[int, ...]) -> None:
    """Raise AssertionError unless the output of a function has the expected shape; ``meaning`` names its dimensions."""
    shape = tuple(output.shape)
    require(shape == expected, f"{function} returns the shape {shape}; it must be {meaning} = {expected}.")


def name_of(check: Callable[..., Any]) -> str:
    """Return the displayed name of a check: that of its function, with spaces."""
    return check.__name__.replace("_", " ")


@contextmanager
def guarded(changes: list[str] | None = None) -> Iterator[None]:
    """Run code of a plugin: exits and failing threads are exceptions, and settings of the process are restored."""
    with recognisable_interrupts(), exits_as_exceptions(), restored(changes), failing_threads("the plugin"):
        yield


def shortened(text: str) -> str:
    """Return a text of a plugin with at most :data:`LONGEST_WHY` characters."""
    return text if len(text) <= LONGEST_WHY else f"{text[:LONGEST_WHY]}..."


def run(check: Callable[[C], Any], of: C, changes: list[str] | None = None) -> Finding:
    """Run one check and return its finding. If the check returns a string, it describes what was observed.

    Args:
        changes: receives the settings of the process that the plugin changed; they are restored.
    """
    name = name_of(check)
    try:
        with guarded(changes):
            observation = check(of)
    except NotApplicable as reason:
        return Finding(name, True, str(reason), applies=False)
    except AssertionError as failure:
        sentence = shortened(text_of(failure)) if has_text(failure) else "An assertion failed"
        place = where(failure)
        return Finding(name, False, f"{sentence.rstrip('.')}{place}." if place else sentence)
    except UserError as error:
        return Finding(name, False, shortened(text_of(error)))
    except BaseException as error:
        if is_interrupt(error):
            raise_interrupt(error)
        if is_a(error, SystemExit):
            said = shortened(type_and_text(error))
            why = f"The plugin ends the process ({said}){where(error)}; raise an exception instead."
            return Finding(name, False, why)
        return Finding(name, False, f"The check raised {shortened(type_and_text(error))}{where(error)}")
    return Finding(name, True, observation if isinstance(observation, str) else "")


def run_all(checks: Sequence[Callable[[C], Any]], of: C, *, required: Collection[Callable[[C], Any]]) -> list[Finding]:
    """Run checks on one object, up to the first ``required`` one that fails: the later ones would fail with it."""
    findings: list[Finding] = []
    changes: list[str] = []
    for check in checks:
        findings.append(run(check, of, changes))
        if check in required and not (findings[-1].ok and findings[-1].applies):
            break
    return [*findings, process_settings(changes)]


#: Name of the last finding of every kind of plugin.
PROCESS_SETTINGS = "process settings"


def process_settings(changes: Sequence[str], when: str = "The plugin") -> Finding:
    """Return the finding on the settings of the process that a plugin changed."""
    if not changes:
        return Finding(PROCESS_SETTINGS, True)
    listed = ", ".join(dict.fromkeys(changes))
    why = (
        f"{when} changes {listed}; it is restored after each call, so the plugin cannot rely on it. Pass dtype, "
        "device, generator and paths as arguments instead."
    )
    return Finding(PROCESS_SETTINGS, False, why)


def where(error: BaseException) -> str:
    """Return `` (line N of FILE)`` of the innermost frame of the traceback that is in a plugin, or an empty string."""
    location = ""
    frame = traceback_of(error)
    while frame is not None:
        if is_plugin_module(frame.tb_frame.f_globals.get("__name__", "")):
            location = f" (line {frame.tb_lineno} of {Path(frame.tb_frame.f_code.co_filename).name})"
        frame = frame.tb_next
    return location


@contextmanager
def other_globals(seed: int) -> Iterator[None]:
    """Seed the global generators with `seed` within the context, and restore their states afterwards."""
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
