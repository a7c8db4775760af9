"""Contract of a metric (docs/plugins.md), checked by real passes of small methods over a small split."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from harness.cells.evaluate import evaluate
from harness.check.finding import Finding, NotApplicable, other_globals, require, require_json, run_all
from harness.check.world import BATCH, OTHER_BATCH, CheckWorld, small_world
from harness.metrics.base import Batch, Direction, Metric, Outcome, Score
from methods.base import Method

#: Allowed difference between float32 sums in another order.
TOLERANCE = 1e-4
#: Largest allowed growth of a metric's memory, as a fraction of the layer's outputs it has processed.
MEMORY_GROWTH = 1 / 16
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


class CheckedMetric:
    """Metric class with its passes, each made once."""

    def __init__(self, cls: type[Metric], world: CheckWorld) -> None:
        # A metric of further image sets is checked as if the evaluation images were one.
        self.cls, self.world = cls, world.on_further_set() if cls.needs_first_set is True else world
        self._seeds = itertools.count(1)
        self.first = cache(self.again)

    @property
    def methods(self) -> dict[str, Method]:
        """Methods that the metric applies to."""
        return {
            name: method
            for name, method in self.world.fitted.items()
            if self.cls.applies(method, self.world.baseline) is True
            and not (self.cls.needs_dictionary and method.dictionary() is None)
        }

    def again(self, name: str, batch_size: int = BATCH) -> Pass:
        """Make a new pass over a method; ``first`` returns the first one again."""
        return _pass(self.cls, self.world.fitted[name], self.world, batch_size, next(self._seeds))


def check_metric(cls: type[Metric], world: CheckWorld | None = None) -> list[Finding]:
    """Check a metric class against the contract, in ``world`` or in a new one."""
    with nullcontext(world) if world is not None else small_world() as used_world:
        return run_all(CHECKS, CheckedMetric(cls, used_world), required=(declaration, applies, scores))


def declaration(of: CheckedMetric) -> None:
    """Check that the metric's attributes have the types and values that leaderboards and stores expect."""
    cls = of.cls
    require(
        isinstance(cls.version, int) and cls.version >= 1, f"version is {cls.version!r}; it must be an integer from 1."
    )
    require(isinstance(cls.unit, str), f'unit is {cls.unit!r}; it must be a string, "" for a plain number.')
    allowed = get_args(Direction)
    require(cls.direction in allowed, f"direction is {cls.direction!r}; it must be one of {', '.join(allowed)}.")
    empty = [name for name in ("title", "reference") if not getattr(cls, name).strip()]
    require(not empty, f"{' and '.join(empty)} is empty; leaderboards display it.")


def applies(of: CheckedMetric) -> str:
    """Check that applies returns True or False for every kind of method, and True for at least one of them."""
    answers = {name: of.cls.applies(method, of.world.baseline) for name, method in of.world.fitted.items()}
    for name, answer in answers.items():
        require(isinstance(answer, bool), f"applies returns {answer!r} for {name}; it must return True or False.")
    if not any(answers.values()):
        raise NotApplicable("it applies to none of the methods of the check, so nothing else can be checked")
    return "" if all(answers.values()) else f"measured on {', '.join(name for name in answers if answers[name])}"


def scores(of: CheckedMetric) -> str:
    """Check that compute yields valid scores.

    The first score is named by the metric's id, values are numbers with their n, and details can be stored as JSON.
    """
    example = ""
    for name in of.methods:
        if name == "dead units":
            continue
        all_scores = of.first(name).scores
        require(bool(all_scores), f"compute yields nothing for {name}; let `applies` return False for such methods.")
        require(
            all_scores[0].metric == of.cls.id,
            f"The first score is named {all_scores[0].metric!r}; it must be {of.cls.id!r}: use self.score.",
        )
        names = [score.metric for score in all_scores]
        twice = sorted({other for other in names if names.count(other) > 1})
        require(not twice, f"compute yields {', '.join(twice)} twice; names of scores must be unique.")
        for score in all_scores:
            _check_score(score)
        if not example and not math.isnan(all_scores[0].value):
            example = f"{all_scores[0].value:.4g} for {name}"
    return example


def _check_score(score: Score) -> None:
    """Check the value, number of items, unit, standard error, details and params of one score."""
    number = isinstance(score.value, int | float | np.number) and not isinstance(score.value, bool)
    require(
        number, f"{score.metric} is a {type(score.value).__name__}; it must be a float: use value.item() of a tensor."
    )
    require(not math.isinf(score.value), f"{score.metric} is infinite; use NaN if it is undefined.")
    whole = isinstance(score.n, int | np.integer) and not isinstance(score.n, bool)
    require(
        whole and score.n >= 0,
        f"{score.metric} has n = {score.n!r}; n must be the number of items that the value is an average over.",
    )
    above = score.unit == "fraction" and score.value > 1 + 1e-6
    require(
        not above,
        f"{score.metric} is {score.value:.4g}, but its unit is 'fraction', which is printed in percent; set `unit`.",
    )
    error = score.uncertainty
    require(
        error is None or math.isnan(error) or error >= 0,
        f"{score.metric} has the standard error {error}; it must be None, NaN or at least 0.",
    )
    for field, value in (("details", score.details), ("params", score.params)):
        require_json(dict(value or {}), f"{field} of {score.metric} contain")


def parameters(of: CheckedMetric) -> None:
    """Check that params is plain JSON, and the same for every method."""
    all_params = [of.first(name).metric.params for name in of.methods]
    require_json(all_params, "params contains")
    require(
        all(params == all_params[0] for params in all_params),
        "params differs between methods; it must be the same, so that their scores are ranked together.",
    )


def deterministic(of: CheckedMetric) -> None:
    """Check that the same pass gives the same scores."""
    _skip_timed(of)
    for name in of.methods:
        first, again = of.first(name).scores, of.again(name).scores
        _require_same(first, again, name, 0.0, "two passes over the same images differ; seed random draws.")


def any_batch_size(of: CheckedMetric) -> None:
    """Check that the scores do not depend on the batch size."""
    _skip_timed(of)
    for name in of.methods:
        _require_same(
            of.first(name).scores,
            of.first(name, OTHER_BATCH).scores,
            name,
            TOLERANCE,
            f"batches of {BATCH} and of {OTHER_BATCH} images give other values; add sums and counts in `update` and "
            "divide in `compute` (the last batch is smaller than the others).",
        )


def dead_units(of: CheckedMetric) -> None:
    """Check that a method with only dead units gives NaN or a number, and no exception."""
    if "dead units" not in of.methods:
        raise NotApplicable("it does not apply to the method with only dead units")
    for score in of.first("dead units").scores:
        _check_score(score)


def batches_unchanged(of: CheckedMetric) -> None:
    """Check that update does not change the batch: the metrics after it get the same one."""
    wrong = [name for name in of.methods if of.first(name).changed]
    require(not wrong, "update changes the batch in place, and the metrics after it get the same batch; copy it first.")


def bounded_memory(of: CheckedMetric) -> None:
    """Check that the metric's memory does not grow with the number of batches."""
    for name in of.methods:
        batches = of.first(name).batches
        metric, sizes = of.cls(of.world.baseline), []
        with torch.inference_mode():
            # Some metrics keep a few tokens, or create sums when they are first needed: only the last round counts.
            for _ in range(ROUNDS):
                for batch in batches:
                    metric.update(Batch(*(part.clone() for part in batch)))
                sizes.append(_bytes(metric))
        processed = sum(batch.a.numel() * batch.a.element_size() for batch in batches)
        grown = sizes[-1] - sizes[-2]
        require(
            grown <= MEMORY_GROWTH * processed,
            f"The metric's memory grows by {grown} bytes for every {processed} bytes of the layer's output, too much "
            "for ImageNet. Keep sums and counts instead of tokens.",
        )


def _skip_timed(of: CheckedMetric) -> None:
    """Raise NotApplicable for a metric that measures time."""
    if of.cls.timed:
        raise NotApplicable("it measures time, which is not reproducible")


def _require_same(first: list[Score], second: list[Score], name: str, tolerance: float, why: str) -> None:
    """Check that two lists of scores have the same names, and values within the tolerance."""
    names = [score.metric for score in first]
    require(names == [score.metric for score in second], f"For {name}, {why}")
    for score, repeated in zip(first, second, strict=True):
        a, b = score.value, repeated.value
        near = math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or (math.isnan(a) and math.isnan(b))
        require(near, f"For {name}, {score.metric} is {a:.6g} and then {b:.6g}: {why}")


def _pass(cls: type[Metric], method: Method, world: CheckWorld, batch_size: int, seed: int) -> Pass:
    """Run one pass with a recording subclass of the metric. An exception of the metric is raised."""
    batches: list[Batch] = []
    errors: list[BaseException] = []
    instances: list[Metric] = []
    scores: list[Score] = []
    changed = False

    class Recorder(cls):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any) -> None:
            _recording_errors(errors, lambda: super(Recorder, self).__init__(*arguments))

        def update(self, batch: Batch) -> None:
            nonlocal changed
            before = Batch(*(part.clone() for part in batch))
            _recording_errors(errors, lambda: super(Recorder, self).update(batch))
            changed = changed or not all(map(_equal, before, batch))
            batches.append(before)

        def compute(self, outcome: Outcome) -> Iterable[Score]:
            instances.append(self)
            scores.extend(_recording_errors(errors, lambda: list(super(Recorder, self).compute(outcome))))
            return scores

    Recorder.__module__, Recorder.__qualname__ = cls.__module__, cls.__qualname__
    with other_globals(seed):
        passes = replace(world.baseline.passes, batch_size=batch_size)
        evaluate(method, replace(world.baseline, passes=passes), [Recorder])
    if errors:
        raise errors[0]
    return Pass(instances[0], scores, changed, batches)


def _recording_errors(errors: list[BaseException], step: Callable[[], Any]) -> Any:
    """Run a step, and append its exception to ``errors`` before it is raised again."""
    try:
        return step()
    except BaseException as error:
        errors.append(error)
        raise


def _equal(before: Tensor, after: Tensor) -> bool:
    return before.shape == after.shape and torch.equal(before.nan_to_num(), after.nan_to_num())


def _bytes(value: Any, visited: set[int] | None = None) -> int:
    """Return the bytes of the tensors, arrays and numbers that a metric holds, without its baseline."""
    visited = set() if visited is None else visited
    if id(value) in visited:
        return 0
    visited.add(id(value))
    if isinstance(value, Tensor):
        return int(value.untyped_storage().nbytes())
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, dict):
        return sum(_bytes(item, visited) for item in value.values()) + 8 * len(value)
    if isinstance(value, list | tuple | set | frozenset):
        return sum(_bytes(item, visited) for item in value) + 8 * len(value)
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return sum(_bytes(item, visited) for name, item in vars(value).items() if name not in ("baseline", "backbone"))
    return 8


#: Checks in the order in which they run. Each raises AssertionError with a sentence that explains the failure.
CHECKS: tuple[Callable[[CheckedMetric], Any], ...] = (
    declaration, applies, scores, parameters, deterministic, any_batch_size, dead_units, batches_unchanged,
    bounded_memory,
)  # fmt: skip
