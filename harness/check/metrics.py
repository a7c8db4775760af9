"""Contract of a metric (docs/plugins.md), checked by real passes of small methods over a small split."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from harness.cells.evaluate import evaluate
from harness.check.finding import Finding, NotApplicable, other_globals, require, run, run_all
from harness.check.world import BATCH, OTHER_BATCH, World, small_world
from harness.metrics.base import Batch, Direction, Metric, Outcome, Score
from methods.base import Method

#: Allowed difference between float32 sums in another order.
TOLERANCE = 1e-4
#: A metric whose memory grows by more than this fraction of the layer's outputs keeps something of every token.
KEPT = 1 / 16
#: Number of passes over the split of 18 images after which a metric's memory must no longer grow.
ROUNDS = 6


@dataclass
class Pass:
    """Pass of one metric over one method."""

    metric: Metric
    scores: list[Score]
    changed: bool
    """True if it changed a batch in place"""
    batches: list[Batch]
    """copies of the batches as they were passed to it"""


class Measured:
    """Metric class with its passes, each made once."""

    def __init__(self, cls: type[Metric], world: World) -> None:
        self.cls, self.world = cls, world
        self._passes: dict[tuple[str, int], Pass] = {}
        self._made = 0

    @property
    def methods(self) -> dict[str, Method]:
        """Methods that the metric applies to."""
        return {
            name: method
            for name, method in self.world.fitted.items()
            if self.cls.applies(method, self.world.baseline) is True
        }

    def of(self, name: str, batch_size: int = BATCH) -> Pass:
        if (name, batch_size) not in self._passes:
            self._passes[name, batch_size] = self.again(name, batch_size)
        return self._passes[name, batch_size]

    def again(self, name: str, batch_size: int = BATCH) -> Pass:
        self._made += 1
        return _pass(self.cls, self.world.fitted[name], self.world, batch_size, self._made)


def check_metric(cls: type[Metric], world: World | None = None) -> list[Finding]:
    """Check a metric class against the contract.

    Args:
        cls: the metric class.
        world: world to measure in; None makes one.
    """
    with nullcontext(world) if world is not None else small_world() as place:
        of = Measured(cls, place)
        findings = [run("declaration", lambda: declaration(of)), run("applies", lambda: applies(of))]
        if not all(finding.ok and finding.applies for finding in findings):
            return findings
        findings.append(run("scores", lambda: scores(of)))
        # Without scores all other checks would fail for the same reason.
        return findings + run_all(CHECKS, of) if findings[-1].ok else findings


def declaration(of: Measured) -> None:
    """Check that the metric's attributes have the types and values that leaderboards and stores expect."""
    cls = of.cls
    require(isinstance(cls.version, int) and cls.version >= 1, f"version is {cls.version!r}; it counts up from 1.")
    require(isinstance(cls.unit, str), f'unit is {cls.unit!r}; it is a text, "" for a plain number.')
    known = get_args(Direction)
    require(cls.direction in known, f"direction is {cls.direction!r}; it is one of {', '.join(known)}.")
    empty = [name for name in ("title", "reference") if not getattr(cls, name).strip()]
    require(not empty, f"{' and '.join(empty)} is empty; readers of the leaderboard need it.")


def applies(of: Measured) -> str:
    """Check that applies returns True or False for every kind of method, and True for at least one of them."""
    answers = {name: of.cls.applies(method, of.world.baseline) for name, method in of.world.fitted.items()}
    for name, answer in answers.items():
        require(isinstance(answer, bool), f"applies gives {answer!r} for {name}; it is True or False.")
    if not any(answers.values()):
        raise NotApplicable("it applies to none of the methods of the check, which is all that can be said here")
    return "" if all(answers.values()) else f"measured on {', '.join(name for name in answers if answers[name])}"


def scores(of: Measured) -> str:
    """Check that compute yields valid scores.

    The first score is named by the metric's id, values are numbers with their n, and details can be stored as JSON.
    """
    shown = ""
    for name in of.methods:
        if name == "dead units":
            continue
        found = of.of(name).scores
        require(bool(found), f"compute yields nothing for {name}; let `applies` say where it means nothing.")
        require(
            found[0].metric == of.cls.id,
            f"The first score is called {found[0].metric!r}; it is the metric's own, {of.cls.id!r}: use self.score.",
        )
        names = [score.metric for score in found]
        twice = sorted({other for other in names if names.count(other) > 1})
        require(not twice, f"compute yields {', '.join(twice)} twice; a cell has one score of a name.")
        for score in found:
            _one(score)
        if not shown and not math.isnan(found[0].value):
            shown = f"{found[0].value:.4g} for {name}"
    return shown


def _one(score: Score) -> None:
    number = isinstance(score.value, int | float | np.number) and not isinstance(score.value, bool)
    require(number, f"{score.metric} is a {type(score.value).__name__}; give a float: value.item() of a tensor.")
    require(not math.isinf(score.value), f"{score.metric} is infinite; say NaN where it is undefined.")
    whole = isinstance(score.n, int | np.integer) and not isinstance(score.n, bool)
    require(whole and score.n >= 0, f"{score.metric} has n = {score.n!r}; n is what the value is an average over.")
    above = score.unit == "fraction" and score.value > 1 + 1e-6
    require(
        not above,
        f"{score.metric} is {score.value:.4g}, and its unit is 'fraction', which is printed in percent; set `unit`.",
    )
    error = score.uncertainty
    require(error is None or math.isnan(error) or error >= 0, f"{score.metric} has the standard error {error}.")
    for what, value in (("details", score.details), ("params", score.params)):
        try:
            json.dumps(dict(value or {}))
        except (TypeError, ValueError) as problem:
            raise AssertionError(f"{what} of {score.metric} are no plain JSON ({problem}).") from problem


def parameters(of: Measured) -> None:
    """Check that params is plain JSON, and the same for every method."""
    found = [of.of(name).metric.params for name in of.methods]
    try:
        json.dumps(found)
    except (TypeError, ValueError) as problem:
        raise AssertionError(f"params is no plain JSON ({problem}).") from problem
    require(
        all(params == found[0] for params in found),
        "params differs between methods; scores that differ in it are never ranked together.",
    )


def deterministic(of: Measured) -> None:
    """Check that the same pass gives the same scores."""
    _timed(of)
    for name in of.methods:
        first, again = of.of(name).scores, of.again(name).scores
        _same(first, again, name, 0.0, "two passes over the same images differ; seed what it draws.")


def any_batch_size(of: Measured) -> None:
    """Check that the scores do not depend on the batch size."""
    _timed(of)
    for name in of.methods:
        _same(
            of.of(name).scores,
            of.of(name, OTHER_BATCH).scores,
            name,
            TOLERANCE,
            f"batches of {BATCH} and of {OTHER_BATCH} images give other values; add sums and counts in `update` and "
            "divide in `compute` (the last batch is smaller than the others).",
        )


def dead_units(of: Measured) -> None:
    """Check that a method with only dead units gives NaN or a number, and no exception."""
    if "dead units" not in of.methods:
        raise NotApplicable("it does not apply to the method whose units are all dead")
    for score in of.of("dead units").scores:
        _one(score)


def batches_left_alone(of: Measured) -> None:
    """Check that update does not change the batch: the metrics after it get the same one."""
    wrong = [name for name in of.methods if of.of(name).changed]
    require(not wrong, "update changes the batch in place, which the metrics after it are given too; work on a copy.")


def memory_stays_flat(of: Measured) -> None:
    """Check that the metric's memory does not grow with the number of batches."""
    for name in of.methods:
        batches = of.of(name).batches
        metric, held = of.cls(of.world.baseline), []
        with torch.inference_mode():
            # Some metrics keep a few tokens, or make sums when they are first needed: only the last round counts.
            for _ in range(ROUNDS):
                for batch in batches:
                    metric.update(Batch(*(part.clone() for part in batch)))
                held.append(_bytes(metric))
        seen = sum(batch.a.numel() * batch.a.element_size() for batch in batches)
        grown = held[-1] - held[-2]
        require(
            grown <= KEPT * seen,
            f"It holds {grown} bytes more for every {seen} bytes of the layer's output it sees: on ImageNet that does "
            "not fit. Keep sums and counts.",
        )


def _timed(of: Measured) -> None:
    if of.cls.timed:
        raise NotApplicable("it measures time, which is never the same twice")


def _same(first: list[Score], second: list[Score], name: str, tolerance: float, why: str) -> None:
    names = [score.metric for score in first]
    require(names == [score.metric for score in second], f"For {name}, {why}")
    for one, other in zip(first, second, strict=True):
        near = math.isclose(one.value, other.value, rel_tol=tolerance, abs_tol=tolerance)
        both_nan = math.isnan(one.value) and math.isnan(other.value)
        require(near or both_nan, f"For {name}, {one.metric} is {one.value:.6g} and then {other.value:.6g}: {why}")


def _pass(cls: type[Metric], method: Method, world: World, batch_size: int, seed: int) -> Pass:
    """Run one pass with a recording subclass of the metric. An exception of the metric is raised."""
    batches: list[Batch] = []
    errors: list[Exception] = []
    made: list[Metric] = []
    kept: list[Score] = []
    changed = False

    class Watched(cls):  # type: ignore[misc, valid-type]
        def update(self, batch: Batch) -> None:
            nonlocal changed
            before = Batch(*(part.clone() for part in batch))
            _noting(errors, lambda: super(Watched, self).update(batch))
            changed = changed or not all(map(_equal, before, batch))
            batches.append(before)

        def compute(self, outcome: Outcome) -> Iterable[Score]:
            made.append(self)
            kept.extend(_noting(errors, lambda: list(super(Watched, self).compute(outcome))))
            return kept

    Watched.__module__, Watched.__qualname__ = cls.__module__, cls.__qualname__
    with other_globals(seed):
        evaluate(method, world.in_batches_of(batch_size), [Watched])
    if errors:
        raise errors[0]
    return Pass(made[0], kept, changed, batches)


def _noting(errors: list[Exception], step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Exception as error:
        errors.append(error)
        raise


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())


def _bytes(thing: Any, met: set[int] | None = None) -> int:
    """Return the bytes of the tensors, arrays and numbers that a metric holds, without its baseline."""
    met = set() if met is None else met
    if id(thing) in met:
        return 0
    met.add(id(thing))
    if isinstance(thing, Tensor):
        return int(thing.untyped_storage().nbytes())
    if isinstance(thing, np.ndarray):
        return int(thing.nbytes)
    if isinstance(thing, bytes | str):
        return len(thing)
    if isinstance(thing, dict):
        return sum(_bytes(value, met) for value in thing.values()) + 8 * len(thing)
    if isinstance(thing, list | tuple | set | frozenset):
        return sum(_bytes(value, met) for value in thing) + 8 * len(thing)
    if hasattr(thing, "__dict__") and not isinstance(thing, type):
        return sum(_bytes(value, met) for name, value in vars(thing).items() if name not in ("baseline", "backbone"))
    return 8


#: Name -> check; each raises AssertionError with the sentence that explains the failure.
CHECKS: dict[str, Callable[[Measured], Any]] = {
    "parameters": parameters,
    "deterministic": deterministic,
    "any batch size": any_batch_size,
    "dead units": dead_units,
    "batches left alone": batches_left_alone,
    "memory stays flat": memory_stays_flat,
}
