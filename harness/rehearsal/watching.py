"""Executor that computes as another one does, and notes the time of each piece of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from harness.cells.evaluate import HEAD_SECTION, METRIC_PER_BATCH
from harness.cells.run_cell import CellResult
from harness.doctor.steps import Stage
from harness.executors.base import Event, Executor, Opened, Work
from harness.rehearsal.kinds import CellKind
from harness.rehearsal.measurements import CELL, PASSES, Measurements, Piece
from harness.rehearsal.shares import Share
from harness.run.step_times import StepTimes
from methods.tracing import Key, Trace

#: Stage of the timing protocol of a metric, which doctor does not know.
TIMING = "timing"
#: Metrics that time the network instead of passing images through it.
TIMED_METRICS = ("efficiency_ratio",)

#: Sections of ELUDe's fit whose time grows with the distances.
_DISTANCES = (
    *("distances and spanning tree", "core distances", "pairs of components"),
    "edges of the tree, on the CPU",
)
#: Stage of a cell -> outermost sections, and the sections in them whose time grows with images, tokens or instances.
#: The first step of a training is not among them: it compiles and allocates. In the threads of several lanes, the
#: sections of a fit are outermost ones.
GROWING: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "training": (("fit",), ("training steps", "reading of tokens for training")),
    "clustering": (("fit", *_DISTANCES), _DISTANCES),
    "evaluation": (
        ("evaluation",),
        ("network", "encoder", "decoder", "unit statistics", "waiting for decoded images", HEAD_SECTION),
    ),
}
#: Sections of ELUDe's fit whose time grows with the neurons and their instances; what is in no section is constant.
PER_INSTANCE = (
    *("gathering of inputs", "selection of instances, on the CPU", "tree of HDBSCAN, on the CPU"),
    *("sums over clusters", "division of a neuron"),
)
#: End of the names of the sections of metrics during the pass.
PER_BATCH = METRIC_PER_BATCH.removeprefix("metric {}")


class Watching(Executor):
    """Note the measured and the estimated time of each event of an executor on this machine.

    Args:
        inner: executor that computes.
        measurements: receives one piece per event, before the run records it.
        share: share of the plan that is computed.
        passes: key of the passes of the run's only backbone.
        kinds: label of a cell -> its kind.
        n_tokens: probing tokens.
        trace: open trace, by which the time of a cell is divided into a part that grows and a constant one.
    """

    name = "rehearsal"
    description = "times each piece of work"

    def __init__(
        self,
        inner: Executor,
        measurements: Measurements,
        share: Share,
        passes: str,
        kinds: Mapping[str, CellKind],
        n_tokens: int,
        trace: Trace,
    ) -> None:
        self.inner = inner
        self.measurements = measurements
        self.share = share
        self.passes = passes
        self.kinds = kinds
        self.n_tokens = n_tokens
        self.trace = trace
        self._before: dict[Key, float] = dict(trace.seconds)
        self.counted = 0.0
        """seconds of all pieces so far"""

    def planning_device(self, device: str) -> str:
        return self.inner.planning_device(device)

    def device_name(self, device: str) -> str:
        return self.inner.device_name(device)

    def versions(self) -> dict[str, str]:
        return self.inner.versions()

    def execute(self, work: Work) -> Iterator[Event]:
        cells = [cell for target in work.targets for cell in target.cells]
        for event in self.inner.execute(work):
            times = StepTimes(work.suite, cells, work.cache, work.context.device)
            times.take(event)
            stages = times.stages()
            measured: dict[str, float] = {stage: time.actual for stage, time in stages.items()}
            estimated: dict[str, float] = {
                stage: time.estimated for stage, time in stages.items() if time.estimated is not None
            }
            self.counted += sum(measured.values())
            if isinstance(event, Opened):
                self._opened(event, measured, estimated)
            elif event.finished:
                self._cell(event, measured, estimated, times.constant_s)
            self._before = dict(self.trace.seconds)
            yield event

    def _opened(self, event: Opened, measured: dict[str, float], estimated: dict[str, float]) -> None:
        if not measured:
            # Everything was read from the cache: it was measured by an earlier run.
            return
        prepared = event.prepared
        facts = {"probing": len(prepared.probing), "evaluated": len(prepared.evaluation)}
        self.measurements.add(Piece(PASSES, self.share.label, self.passes, measured, estimated, facts))

    def _cell(
        self,
        result: CellResult,
        measured: dict[str, float],
        estimated: dict[str, float],
        constant: Mapping[Stage, float],
    ) -> None:
        kind = self.kinds.get(result.record.label)
        if kind is None:
            return
        protocol = sum({score.seconds or 0.0 for score in result.scores if score.metric in TIMED_METRICS})
        if protocol:
            measured = {**measured, TIMING: protocol, "evaluation": max(0.0, measured["evaluation"] - protocol)}
        record = result.record
        is_loaded = any(note.startswith("Fitted by the cell") for note in record.notes)
        if is_loaded:
            measured = {key: value for key, value in measured.items() if key not in ("training", "clustering")}
        neurons = min(self.share.neurons, record.d_out or self.share.neurons)
        if "clustering" in estimated and record.d_out:
            fixed = constant.get("clustering", 0.0)
            partial = fixed + (estimated["clustering"] - fixed) * neurons / record.d_out
            estimated = {**estimated, "clustering": partial}
        config = dict(record.config or {})
        facts: dict[str, Any] = {
            "evaluated": self.share.evaluated,
            "neurons": neurons,
            "n_units": record.n_units,
            "config": config,
            "tokens": self.n_tokens,
            "repeats": self.share.repeats,
            "is_loaded": is_loaded,
            "growing": self._growing(),
            "per_instance": self._seconds(lambda key: key.name in PER_INSTANCE),
            "constant": dict(constant),
            "traced": {"training": share_after_first_step(config, self.n_tokens)},
        }
        self.measurements.add(Piece(CELL, self.share.label, kind.key, measured, estimated, facts))

    def _growing(self) -> dict[str, float]:
        """Return, by stage of the cell, the seconds of the sections that grow with its sizes."""
        return {
            stage: self._seconds(partial(_grows, outermost, names)) for stage, (outermost, names) in GROWING.items()
        }

    def _seconds(self, is_meant: Callable[[Key], bool]) -> float:
        """Return the seconds of sections since the last event."""
        return sum(seconds - self._before.get(key, 0.0) for key, seconds in self.trace.seconds.items() if is_meant(key))


def _grows(outermost: Sequence[str], names: Sequence[str], key: Key) -> bool:
    """Return whether a section is one of these, or of a metric's part in the pass, in one of the outermost sections."""
    return key.outermost in outermost and (key.name in names or key.name.endswith(PER_BATCH))


def share_after_first_step(config: Mapping[str, Any], n_tokens: int) -> float:
    """Return the share of a training's tokens that come after its first step; 1 for a method that is not trained."""
    epochs, batch = config.get("epochs"), config.get("batch_size")
    if not epochs or not batch or not n_tokens:
        return 1.0
    return float(1.0 - min(batch, n_tokens) / (n_tokens * epochs))


def stage_of_fit(piece: Piece) -> Stage | None:
    """Return the stage of the fit that a cell has made; None if it has loaded one."""
    if piece.facts.get("is_loaded"):
        return None
    return "clustering" if piece.seconds.get("clustering") else "training"
