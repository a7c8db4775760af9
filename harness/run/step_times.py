"""Time of each step of a run beside doctor's estimate of it, written to the end of the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.cells.plan import Cell, PreparedTarget
from harness.cells.run_cell import CellResult
from harness.doctor.calibration.file import rates_here
from harness.doctor.layers import Layer, layer_of
from harness.doctor.steps import CONSTANT_STEPS, STAGE_TITLES, STAGES, Images, Stage, image_steps, job_steps
from harness.doctor.workload import Job, runs_network, value_bytes
from harness.executors.base import Event, Opened
from harness.run.journal import Journal
from harness.suites import Suite
from results.duration_text import duration_text

#: A calibrated estimate that is wrong by more than this factor is reported to the user, for runs of at least so long.
FACTOR, AT_LEAST_S = 2.0, 60.0


class StageTime(NamedTuple):
    """Time of one stage."""

    estimated: float | None
    """None if a part of the stage has no estimate"""
    actual: float


class StepTimes:
    """Actual and estimated seconds of each stage, of what this run computed and did not read from a cache.

    Args:
        suite: a suite without parts.
        cells: cells that the run has to compute.
        cache: folder with the calibration.
        device: device of this process.
    """

    def __init__(self, suite: Suite, cells: Sequence[Cell], cache: Path, device: str) -> None:
        self.suite = suite
        self.cells = {cell.cell_id: cell for cell in cells}
        self.rates, self.note = rates_here(cache, device)
        self._actual: dict[Stage, float] = defaultdict(float)
        self._estimated: dict[Stage, float] = defaultdict(float)
        self._unknown: set[Stage] = set()
        self.constant_s: dict[Stage, float] = defaultdict(float)
        """estimated seconds of the steps that do not depend on the number of images, tokens or instances"""

    def take(self, event: Event) -> None:
        """Add the time of an event."""
        if isinstance(event, Opened):
            self._opened(event)
        elif event.finished:
            self._cell(event)

    def stages(self) -> dict[Stage, StageTime]:
        """Return the stages that took time, in order."""
        return {
            stage: StageTime(None if stage in self._unknown else self._estimated[stage], self._actual[stage])
            for stage in STAGES
            if stage in self._actual
        }

    def report(self, journal: Journal) -> None:
        """Write the table to the log, and tell the user if a calibrated estimate was wrong by a large factor."""
        stages = self.stages()
        if not stages:
            return
        source = (
            "measured here" if self.rates.calibrated else "those of an H200, so the estimate is not of this machine"
        )
        journal.log(f"Time of the steps, estimated beside actual (rates {source}):")
        for stage, seconds in stages.items():
            journal.log(f"  {STAGE_TITLES[stage]}: {_text(seconds)}")
        total = StageTime(
            None if any(seconds.estimated is None for seconds in stages.values()) else sum(self._estimated.values()),
            sum(self._actual.values()),
        )
        journal.log(f"  all of these: {_text(total)}")
        if self.note:
            journal.log(self.note)
        if self.rates.calibrated and total.estimated and total.actual >= AT_LEAST_S:
            ratio = total.actual / total.estimated
            if not 1 / FACTOR <= ratio <= FACTOR:
                journal.say(
                    f"The steps took {ratio:.2g} times doctor's estimate of this machine: {journal.file} lists them. "
                    "`harness doctor --calibrate` measures the machine again."
                )

    def _opened(self, event: Opened) -> None:
        prepared = event.prepared
        made = set(event.seconds)
        for stage in STAGES:
            if stage in event.seconds:
                self._actual[stage] += event.seconds[stage]
        layer = self._layer(prepared)
        if layer is None:
            self._unknown |= {stage for stage in STAGES if stage in made}
            return
        for step in image_steps(self._images(event, layer, made), self.rates):
            self._estimated[step.stage] += step.seconds

    def _cell(self, result: CellResult) -> None:
        cell = self.cells.get(result.record.cell_id)
        if cell is None:
            return
        fit_stage: Stage = "clustering" if _clusters(cell) else "training"
        self._actual[fit_stage] += result.fit_step_seconds
        self._actual["evaluation"] += (result.record.seconds or 0.0) - result.fit_step_seconds
        layer = self._layer(cell.prepared)
        if layer is None:
            self._unknown |= {fit_stage, "evaluation"}
            return
        # The recorded time of a loaded fit, or of one with a loaded prerequisite, is longer than it took here.
        recorded = result.record.fit_seconds
        is_new = recorded is None or recorded <= result.fit_step_seconds
        needed = cell.method.prerequisite(cell.config)
        tokens = len(cell.prepared.probing) * cell.plan.views() * self._tokens_per_view(layer)
        job = Job(
            cell.spec.name,
            cell.config,
            layer,
            tokens,
            len(cell.prepared.evaluation),
            is_new,
            needed if is_new else None,
            result.record.n_units,
            metrics=tuple(metric.id for metric in cell.metrics),
            runs_network=runs_network(cell.spec, [metric.id for metric in cell.metrics]),
            reads_input=cell.spec.reads == "input",
            stored_bytes=value_bytes(self.suite),
        )
        for step in job_steps(job, self.rates):
            self._estimated[step.stage] += step.seconds
            if step.step in CONSTANT_STEPS:
                self.constant_s[step.stage] += step.seconds

    def _images(self, event: Opened, layer: Layer, made: set[str]) -> Images:
        prepared, probing = event.prepared, self.suite.probing
        width = value_bytes(self.suite)
        plans = {cell.plan for cell in self.cells.values() if cell.prepared is prepared}
        sets = [(layer, len(plans))]
        for ahead in event.ahead:
            other = layer_of(prepared.target.backbone, ahead.site)
            if other is not None:
                sets.append((other, len(set(ahead.plans) - plans if ahead.site == prepared.site.path else ahead.plans)))
        views = len(prepared.probing) * max(1, probing.crops)
        token_bytes = sum(
            views * self._tokens_per_view(each) * (each.d_in + each.d_out) * width * n for each, n in sets
        )
        baseline = len(prepared.evaluation) * layer.tokens * layer.d_out * width
        return Images(
            layer,
            len(prepared.probing),
            probing.crops,
            len(prepared.evaluation),
            max(each.before for each, _ in sets) if "tokens" in made else None,
            token_bytes if "tokens" in made else 0,
            baseline if "baseline" in made else 0,
            "probe" if "head" in made else None,
            len(prepared.probing.classes),
        )

    def _tokens_per_view(self, layer: Layer) -> int:
        return min(layer.tokens, self.suite.probing.tokens_per_image or layer.tokens)

    def _layer(self, prepared: PreparedTarget) -> Layer | None:
        return layer_of(prepared.target.backbone, prepared.site.path)


def _clusters(cell: Cell) -> bool:
    return hasattr(cell.config, "top_k_fraction") or cell.method.prerequisite(cell.config) is not None


def _text(seconds: StageTime) -> str:
    actual = f"took {duration_text(seconds.actual)}"
    if seconds.estimated is None:
        return f"no estimate, {actual}"
    ratio = f" ({seconds.actual / seconds.estimated:.2g} times the estimate)" if seconds.estimated > 0 else ""
    return f"estimated {duration_text(seconds.estimated)}, {actual}{ratio}"
