"""Evaluation of one fitted method in one pass over the split: codes, reconstruction, and the network run on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.activations.site import Site
from harness.activations.unit_statistics import UnitStatistics
from harness.errors import UserError
from harness.metrics.base import Batch, Metric, Outcome
from methods.base import Method, Progress, no_progress
from results import ScoreRecord
from results.store.outcomes import ImageOutcome

T = TypeVar("T")

#: Per-unit results that the store has a column for.
UNIT_COLUMNS = (
    *("ms_score", "redundancy", "class_purity", "polysemanticity", "ms_score_null", "prefix_share"),
    *("class_purity_chance", "ms_score_token_null"),
)


class Evaluation(NamedTuple):
    """Results of one pass."""

    scores: list[ScoreRecord]
    notes: list[str]
    """metrics that failed, with the reason, and notes of the metrics"""
    units: pd.DataFrame
    """one row per unit: parent, alive, extrema, fires, top images with positions and values, metrics' own columns"""
    outcomes: Mapping[str, ImageOutcome]
    """metric -> outcome of each image, of the metrics that are shares of images"""


def evaluate(
    method: Method, baseline: Baseline, metrics: Sequence[type[Metric]], *, progress: Progress = no_progress
) -> Evaluation:
    """Measure a fitted method.

    Each batch of images runs through the network once: at the site the method encodes and decodes, and the network
    continues with the reconstruction of all tokens. Memory does not grow with the number of images.

    Raises:
        UserError: if the method encodes or reconstructs NaN or infinity, or its ``decode`` changes the codes in place.
    """
    used = [_TimedMetric(metric(baseline)) for metric in metrics if metric.applies(method, baseline)]
    statistics = UnitStatistics(method.n_units, baseline.top_images)
    labels = torch.from_numpy(baseline.images.labels)
    tokens: dict[str, Tensor] = {}

    def edit(q: Tensor, a: Tensor) -> Tensor:
        x = q if method.spec.reads == "input" else a
        codes = method.encode(x.flatten(0, 1))
        if not bool(torch.isfinite(codes).all()):
            raise UserError(f"{method.spec.name} encodes NaN or infinity: its fit has failed.")
        before = codes.clone() if not tokens else codes
        a_hat = a if method.spec.virtual else method.decode(codes).unflatten(0, a.shape[:2])
        if not torch.equal(before, codes):
            raise UserError(f"{method.spec.name}.decode changes the codes it is given: let it work on a copy.")
        if not bool(torch.isfinite(a_hat).all()):
            raise UserError(f"{method.spec.name} reconstructs NaN or infinity: its fit has failed.")
        tokens.update(a=a, a_hat=a_hat, codes=codes.unflatten(0, a.shape[:2]))
        return a_hat

    done = 0
    for index, features in baseline.passes.run(edit):
        with torch.inference_mode():
            peaks = statistics.update(tokens["codes"], index)
            batch = Batch(
                image=index,
                label=labels[index],
                **tokens,
                clean_logits=baseline.clean_logits(index),
                logits=baseline.head.logits(features).float().cpu(),
                peak=peaks.value,
                peak_token=peaks.token,
            )
            for timed in used:
                timed.run(methodcaller("update", batch))
        done += len(index)
        progress(done, baseline.n_images, "evaluation images")
    outcome = Outcome(method, statistics, baseline, baseline.passes.site.d_out)
    scores: list[ScoreRecord] = []
    measured_ids = {(timed.metric.id, timed.metric.version) for timed in used}
    for timed in used:
        metric = timed.metric
        for score in timed.run(lambda metric: list(metric.compute(outcome))) or []:
            if score.metric != metric.id and (score.metric, metric.version) in measured_ids:
                # A companion that the suite measures by itself, such as `parameters` of efficiency_ratio.
                continue
            params = metric.params if score.params is None else score.params
            values = {**score._asdict(), "params": params, "version": metric.version, "seconds": timed.seconds}
            scores.append(ScoreRecord(**values))
    failures = [f"The metric {timed.metric.id} failed: {timed.error}." for timed in used if timed.error]
    outcomes = {metric: ImageOutcome(*sides) for metric, sides in outcome.image_outcomes.items()}
    return Evaluation(scores, failures + outcome.notes, _unit_frame(outcome, baseline.passes.site), outcomes)


@dataclass
class _TimedMetric:
    """Timed metric of a pass. A metric that raises is skipped from then on; the others continue."""

    metric: Metric
    seconds: float = 0.0
    error: str | None = None

    def run(self, step: Callable[[Metric], T]) -> T | None:
        if self.error is not None:
            return None
        started = time.perf_counter()
        try:
            return step(self.metric)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            return None
        finally:
            self.seconds += time.perf_counter() - started


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
