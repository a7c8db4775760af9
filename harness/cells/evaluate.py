"""Evaluation of one fitted method in one pass over the split: codes, reconstruction, and the network run on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import methodcaller
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.site import Site
from harness.activations.unit_statistics import UnitStatistics
from harness.cells.altered_codes import AlteredCodes
from harness.cells.input_share import InputShare
from harness.cells.method_output import MethodCalls
from harness.cells.probing_codes import ImageCodesPass, first_set_codes
from harness.cells.unit_maps import KeptCodes, unit_maps
from harness.datasets.hierarchy import REMEDY
from harness.metrics.base import Batch, Metric, Outcome
from methods.allocator import kept_memory
from methods.base import NO_DICTIONARY, Method, Progress, no_progress
from methods.interrupts import is_interrupt, raise_interrupt
from methods.plugin_errors import failing_threads, type_and_text
from methods.process_state import restored
from methods.tracing import DEVICE, HOST, section, traced
from results import ScoreRecord
from results.store.outcomes import ImageOutcome

T = TypeVar("T")

#: Names of the sections of a metric in a trace.
METRIC_PER_BATCH, METRIC_AT_END = "metric {}, per batch", "metric {}, at the end"
#: Section of the logits.
HEAD_SECTION = "head and copies of logits to the host"

#: Per-unit results that the store has a column for.
UNIT_COLUMNS = (
    *("ms_score", "redundancy", "class_purity", "polysemanticity", "ms_score_null", "prefix_share"),
    *("class_purity_chance", "ms_score_token_null"),
)


class Evaluation(NamedTuple):
    """Results of one pass."""

    scores: list[ScoreRecord]
    notes: list[str]
    """what decode explains without units, metrics that failed or were left out, with the reason, and their notes"""
    units: pd.DataFrame
    """one row per unit: parent, alive, extrema, fires, top images with positions and values, metrics' own columns"""
    outcomes: Mapping[str, ImageOutcome]
    """metric -> outcome of each image, of the metrics that are shares of images"""
    unit_maps: pd.DataFrame | None
    """pictures of some units (:mod:`harness.cells.unit_maps`); None if they could not be made"""


@traced("evaluation")
def evaluate(
    method: Method, baseline: Baseline, metrics: Sequence[type[Metric]], *, progress: Progress = no_progress
) -> Evaluation:
    """Measure a fitted method.

    Each batch of images runs through the network once: at the site the method encodes and decodes, and the network
    continues with the reconstruction of all tokens. If no metric needs the network, and the method reads the layer's
    output, the stored outputs of the baseline take its place. Memory does not grow with the number of images,
    except by the codes that :class:`~harness.cells.unit_maps.KeptCodes` keeps of small splits.

    Raises:
        UserError: if ``encode``, ``decode`` or ``dictionary`` breaks the contract (:mod:`harness.cells.method_output`).
    """
    changes: list[str] = []
    calls = MethodCalls(method, baseline.passes, changes)
    of_atoms = [metric for metric in metrics if metric.needs_dictionary]
    without = [] if not of_atoms or calls.has_dictionary() else of_atoms
    measured = [metric for metric in metrics if metric not in without]
    used = [timed for metric in measured if (timed := _TimedMetric(metric, changes)).starts(method, baseline)]
    statistics = UnitStatistics(calls.n_units, baseline.top_images)
    labels = torch.from_numpy(baseline.images.labels)
    tokens: dict[str, Tensor] = {}
    input_share = InputShare() if not method.spec.virtual and method.decode_reads_input else None

    def edit(q: Tensor, a: Tensor) -> Tensor:
        x = (q if method.spec.reads == "input" else a).flatten(0, 1)
        with section("encoder", DEVICE):
            codes = calls.encode(x)
        if input_share is not None:
            with section("decoder without units", DEVICE):
                # Before the decoder: it may return the same memory at each call.
                input_share.update(a.flatten(0, 1), calls.decode_without_units(codes, x))
        with section("decoder", DEVICE):
            a_hat = a if method.spec.virtual else calls.decode(codes, x, first=not tokens).unflatten(0, a.shape[:2])
        tokens.update(a=a, a_hat=a_hat, codes=codes.unflatten(0, a.shape[:2]))
        # A copy: the network may work in place on what follows (ReLU), and metrics read these tensors afterwards.
        return a_hat.clone()

    wanted = any(timed.cls.needs_image_codes for timed in used)
    kept = KeptCodes(baseline.n_images)
    image_codes = ImageCodesPass(calls, baseline, wanted=wanted, progress=progress)
    runs_network = method.spec.reads == "input" or any(timed.cls.needs_network for timed in used)
    done = 0
    # Only the pass: metrics that measure memory come after it.
    with kept_memory():
        for index, clean_logits, logits in _network(baseline, edit) if runs_network else _stored(baseline, edit):
            with torch.inference_mode():
                with section("unit statistics", DEVICE):
                    peaks = statistics.update(tokens["codes"], index)
                batch = Batch(
                    image=index,
                    label=labels[index],
                    **tokens,
                    clean_logits=clean_logits,
                    logits=logits,
                    peak=peaks.value,
                    peak_token=peaks.token,
                )
                image_codes.update(index, batch.codes, batch.a)
                kept.update(index, batch.codes)
                for timed in used:
                    with section(METRIC_PER_BATCH.format(timed.cls.id), DEVICE):
                        timed.run(methodcaller("update", batch))
            done += len(index)
            progress(done, baseline.n_images, "evaluation images" if runs_network else "stored outputs")
    kept.to_cpu()
    outcome = Outcome(
        method,
        statistics,
        baseline,
        baseline.passes.site.d_out,
        image_codes=image_codes.result(),
        altered_codes=AlteredCodes(calls, baseline, progress),
        first_set_codes=first_set_codes(
            calls, baseline.first_set, used=[timed.cls for timed in used], progress=progress
        ),
    )
    scores: list[ScoreRecord] = []
    measured_ids = {(timed.cls.id, timed.cls.version) for timed in used}
    for timed in used:
        # A metric that times the network keeps the device busy; the others read what is on the CPU by now.
        with section(METRIC_AT_END.format(timed.cls.id), DEVICE if timed.cls.timed else HOST):
            scores += timed.run(partial(_records_of, timed, outcome, measured_ids)) or []
    calls.require_same_dictionary()
    failures = [*_failures(method, used, without, changes), *_left_out(method, baseline, measured, used)]
    if not runs_network and baseline.tokens.dtype != "float32":
        outcome.notes.append(f"Measured on stored outputs of the layer, which are rounded to {baseline.tokens.dtype}.")
    maps = _maps(calls, outcome, failures, kept, progress, runs_network=runs_network)
    note = "" if input_share is None else input_share.note()
    return Evaluation(
        scores,
        [note] * bool(note) + failures + outcome.notes,
        _unit_frame(outcome, baseline.passes.site),
        {metric: ImageOutcome(*sides) for metric, sides in outcome.image_outcomes.items()},
        maps,
    )


def _failures(
    method: Method, used: Sequence[_TimedMetric], without: Sequence[type[Metric]], changes: Sequence[str]
) -> list[str]:
    """Return a sentence on each metric that failed or was left out, and on each setting that was changed."""
    failures = [f"The metric {timed.cls.id} failed: {timed.error}." for timed in used if timed.error]
    if without:
        names = ", ".join(metric.id for metric in without)
        failures.append(f"{NO_DICTIONARY.format(method.spec.name)} Not measured: {names}.")
    return failures + [
        f"{method.spec.name} or a metric changed {what}; it was restored." for what in dict.fromkeys(changes)
    ]


def _left_out(
    method: Method, baseline: Baseline, metrics: Sequence[type[Metric]], used: Sequence[_TimedMetric]
) -> Iterator[str]:
    """Yield a sentence on each metric that was asked for by its name and does not apply."""
    applying = {timed.cls for timed in used}
    for metric in [each for each in metrics if each not in applying]:
        # It is a metric of further sets: on the set of the fit there is nothing to explain.
        if metric.needs_first_set and baseline.first_set is None:
            continue
        if metric.needs_hierarchy and baseline.images.class_hierarchy is None:
            yield f"{metric.id} is not measured: {baseline.images.name!r} has no class hierarchy. {REMEDY}"
        elif metric.needs_image_codes or metric.needs_encoder:
            yield f"{metric.id} is not measured: it does not apply to {method.spec.name} on these images."


def _network(baseline: Baseline, edit: Callable[[Tensor, Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Run the split through the network; yield images (B,), and logits (B, n_classes) before and after the edit."""
    for index, features in baseline.passes.run(edit):
        with torch.inference_mode(), section(HEAD_SECTION):
            logits = baseline.head.logits(features).float().cpu()
        yield index, baseline.clean_logits(index), logits


def _stored(baseline: Baseline, edit: Callable[[Tensor, Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Edit the stored outputs; yield images (B,), and no logits (B, 0)."""
    for index, a in baseline.outputs():
        with torch.inference_mode():
            edit(a, a)
        empty = torch.zeros(len(index), 0)
        yield index, empty, empty


@traced("activation maps")
def _maps(
    calls: MethodCalls,
    outcome: Outcome,
    failures: list[str],
    kept: KeptCodes,
    progress: Progress,
    *,
    runs_network: bool,
) -> pd.DataFrame | None:
    """Return the activation maps. No score needs them, so a failure is a note and not that of the cell."""
    try:
        scores = outcome.unit_columns.get("ms_score")
        return unit_maps(
            calls, outcome.baseline, outcome.units, scores, runs_network=runs_network, kept=kept, progress=progress
        )
    except BaseException as error:
        if is_interrupt(error):
            raise_interrupt(error)
        failures.append(f"The activation maps failed: {type_and_text(error).rstrip('.')}.")
        return None


@dataclass
class _TimedMetric:
    """Timed metric of a pass. A metric that raises is skipped from then on; the others continue."""

    cls: type[Metric]
    changes: list[str]
    """receives the settings of the process that the metric changed; they are restored"""
    metric: Metric | None = None
    seconds: float = 0.0
    error: str | None = None

    def starts(self, method: Method, baseline: Baseline) -> bool:
        """Make the metric; return False if it does not apply."""

        def make() -> bool:
            applies = self.cls.applies(method, baseline) and (
                not self.cls.needs_image_codes or baseline.probing is not None
            )
            if applies:
                self.metric = self.cls(baseline)
            return bool(applies)

        return self._call(make) is not False

    def run(self, step: Callable[[Metric], T]) -> T | None:
        if self.error is not None or self.metric is None:
            return None
        return self._call(partial(step, self.metric))

    def _call(self, step: Callable[[], T]) -> T | None:
        with restored(self.changes, brief=True):
            started = time.perf_counter()
            try:
                with failing_threads(f"the metric {self.cls.id}"):
                    return step()
            except BaseException as error:
                if is_interrupt(error):
                    raise_interrupt(error)
                self.error = type_and_text(error).rstrip(".")
                return None
            finally:
                self.seconds += time.perf_counter() - started


def _records_of(
    timed: _TimedMetric, outcome: Outcome, measured_ids: Collection[tuple[str, int]], metric: Metric
) -> list[ScoreRecord]:
    """Return the scores of a metric, except for companions that the suite measures by themselves."""
    started, before = time.perf_counter(), timed.seconds
    records = []
    for score in metric.compute(outcome):
        # A companion that the suite measures by itself, such as `parameters` of efficiency_ratio, is left out.
        if score.metric != metric.id and (score.metric, metric.version) in measured_ids:
            continue
        params = metric.params if score.params is None else score.params
        records.append(ScoreRecord(**{**score._asdict(), "params": params, "version": metric.version}))
    seconds = before + time.perf_counter() - started
    return [replace(record, seconds=seconds) for record in records]


@traced("tables of units")
def _unit_frame(outcome: Outcome, site: Site) -> pd.DataFrame:
    statistics, parents = outcome.units, outcome.method.parents
    positions = site.positions(outcome.baseline.n_tokens)[statistics.top_token].T.numpy()
    frame = pd.DataFrame(
        {
            "unit": np.arange(statistics.n_units, dtype=np.int32),
            "alive": statistics.alive.numpy(),
            "max_activation": statistics.maximum.numpy(),
            "min_activation": statistics.minimum.numpy(),
            "fires": statistics.fires.numpy(),
            "top_image": list(statistics.top_image.T.to(torch.int32).numpy()),
            "top_position": list(positions),
            "top_value": list(statistics.top_value.T.contiguous().numpy()),
        }
    )
    if parents is not None:
        frame["parent"] = parents.cpu().numpy().astype(np.int32)
    return frame.assign(**{name: outcome.unit_columns[name] for name in UNIT_COLUMNS if name in outcome.unit_columns})
