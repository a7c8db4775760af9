"""Time of the whole plan, from the pieces that were measured at both shares and doctor's sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.doctor.rates import Rates
from harness.doctor.steps import CONSTANT_STEPS, DICTIONARY_STEP, Step, job_steps, pass_steps
from harness.doctor.workload import Job, Workload
from harness.efficiency.protocol import CPU, CUDA
from harness.rehearsal.choice import UNTIMED, Choice
from harness.rehearsal.kinds import CellKind, Kinds, PassKind, layer_of_job, pass_key, sized_of
from harness.rehearsal.laws import Extrapolated, Point, Size, extrapolate
from harness.rehearsal.measurements import CELL, PASSES, RUN, STABILITY, Measurements, Piece
from harness.rehearsal.shares import instances_of
from harness.rehearsal.watching import TIMED_METRICS, TIMING, stage_of_fit

#: Stages of the passes, whose law is in images.
IMAGE_STAGES = {"tokens": "probing", "head": "probing", "baseline": "evaluated"}
#: Stages that doctor has no estimate of.
STABILITY_STAGE, RUN_STAGE = "stability", "run"
STAGES = ("tokens", "head", "baseline", "training", "clustering", "evaluation", TIMING, STABILITY_STAGE, RUN_STAGE)


class StageHours(NamedTuple):
    """Time of one stage of the plan."""

    stage: str
    estimated: float | None
    """doctor's estimate in seconds; None if it has none"""
    seconds: float
    low: float
    high: float
    """range of the two shares by themselves"""
    unmeasured: float
    """seconds among them of work that was not rehearsed, by doctor's estimate alone"""


class Checked(NamedTuple):
    """Stage of the larger share: predicted from the smaller one, estimated by doctor, and measured."""

    stage: str
    first: float
    """seconds of the smaller share"""
    predicted: float
    estimated: float | None
    measured: float
    comparable: float
    """measured seconds of the pieces that doctor estimates"""


class _Sum:
    """Sum of a stage."""

    def __init__(self) -> None:
        self.estimated: float | None = None
        self.parts = [0.0, 0.0, 0.0]
        self.unmeasured = 0.0

    def stage(self, name: str) -> StageHours:
        seconds, low, high = self.parts
        return StageHours(name, self.estimated, seconds, low, high, self.unmeasured)

    def add(self, part: Extrapolated, estimated: float | None, *, is_measured: bool = True) -> None:
        if estimated is not None:
            self.estimated = (self.estimated or 0.0) + estimated
        self.parts = [total + value for total, value in zip(self.parts, part, strict=True)]
        if not is_measured:
            self.unmeasured += part.seconds


def checked(measurements: Measurements) -> list[Checked]:
    """Return, by stage, the larger share beside its prediction, over the pieces that both shares have."""
    rows: dict[str, list[float]] = {}
    estimates: dict[str, float | None] = {}
    for kind in (PASSES, CELL, RUN, STABILITY):
        for second in measurements.of(kind, "B"):
            first = measurements.get(kind, "A", second.key)
            if first is None:
                continue
            for stage, seconds in second.seconds.items():
                if stage not in first.seconds:
                    continue
                row = rows.setdefault(stage, [0.0, 0.0, 0.0, 0.0])
                row[0] += first.seconds[stage]
                row[1] += predicted(first, second, stage)
                row[2] += seconds
                estimated = second.estimated.get(stage)
                estimates.setdefault(stage, None)
                if estimated:
                    estimates[stage] = (estimates[stage] or 0.0) + estimated
                    row[3] += seconds
    in_order = [stage for stage in STAGES if stage in rows]
    return [
        Checked(stage, first, predicted, estimates[stage], measured, comparable)
        for stage in in_order
        for first, predicted, measured, comparable in [rows[stage]]
    ]


def predicted(first: Piece, second: Piece, stage: str) -> float:
    """Return the time of a piece of the larger share: what grows by doctor's sizes, and the rest as it was."""
    seconds = first.seconds[stage]
    if stage == TIMING:
        return seconds * _ratio(second.facts["repeats"] + UNTIMED, first.facts["repeats"] + UNTIMED)
    if "growing" not in first.facts or stage not in first.facts["growing"]:
        return seconds * _ratio(second.estimated.get(stage), first.estimated.get(stage))
    of_first, of_second = (_estimated_growing(piece, stage) for piece in (first, second))
    of_instances = _per_instance(first, stage)
    grown = of_instances * _ratio(_instances(second.facts["config"]), _instances(first.facts["config"]))
    rest = _constant(first, stage) - of_instances + grown
    growing = _growing(first, stage) * of_second / of_first if of_first else of_second
    return growing + rest


def _ratio(value: float | None, reference: float | None) -> float:
    return value / reference if value and reference else 1.0


def planned(
    workload: Workload, kinds: Kinds, choice: Choice, measurements: Measurements, rates: Rates, *, device: str,
    runs: int, pairs: int,
) -> list[StageHours]:  # fmt: skip
    """Return the time of the whole plan by stage.

    Args:
        runs: number of runs of the loop in the plan, each of which loads its networks.
        pairs: number of pairs of fits whose units are matched for the stability of methods.
    """
    sums = {stage: _Sum() for stage in STAGES}
    corrected = _passes(workload, kinds.passes, measurements, rates, sums)
    _cells(kinds, choice, measurements, rates, corrected, device, sums)
    for kind, stage, count in ((RUN, RUN_STAGE, runs), (STABILITY, STABILITY_STAGE, pairs)):
        seconds = [piece.seconds[stage] for piece in measurements.of(kind)]
        if seconds and count:
            mean = sum(seconds) / len(seconds)
            sums[stage].add(Extrapolated(count * mean, count * min(seconds), count * max(seconds)), None)
    return [total.stage(stage) for stage, total in sums.items() if total.parts[0] or total.estimated]


def _passes(
    workload: Workload, passes: Sequence[PassKind], measurements: Measurements, rates: Rates, sums: Mapping[str, _Sum]
) -> dict[str, float]:
    """Add the passes of all targets; return, by key of the passes, the measured time of a forward pass by estimate."""
    by_key = {of_backbone.key: of_backbone for of_backbone in passes}
    corrections: dict[str, float] = {}
    for sized, steps in pass_steps(workload, rates):
        key = pass_key(sized)
        for stage, estimated in _by_stage(steps).items():
            pieces = [
                piece
                for piece in _both(measurements, PASSES, by_key[key].key)
                if stage in piece.seconds and piece.estimated.get(stage)
            ]
            if not pieces:
                sums[stage].add(Extrapolated(estimated, estimated, estimated), estimated, is_measured=False)
                continue
            factors = _factors([(piece.seconds[stage], piece.estimated[stage]) for piece in pieces])
            sums[stage].add(Extrapolated(*(estimated * factor for factor in factors)), estimated)
            if stage == "baseline" or key not in corrections:
                corrections[key] = factors.seconds
    return corrections


def _cells(
    kinds: Kinds,
    choice: Choice,
    measurements: Measurements,
    rates: Rates,
    corrected: Mapping[str, float],
    device: str,
    sums: Mapping[str, _Sum],
) -> None:
    by_key = {kind.key: kind for kind in kinds.cells}
    for kind in kinds.cells:
        standing = by_key.get(choice.stand_ins.get(kind.key, kind.key), kind)
        evaluated = _both(measurements, CELL, standing.key)
        fitted = _fits(measurements, kinds.cells, standing.fit_key)
        for job in kind.jobs:
            if job.full_fit:
                _add_fit(job, fitted, rates, sums)
            _add_evaluation(job, standing, evaluated, rates, corrected, sums)
            if job.metrics is not None and set(TIMED_METRICS) & set(job.metrics):
                repeats = float((CPU if device == "cpu" else CUDA).repeats)
                points = [
                    Point(Size(1.0, float(piece.facts["repeats"])), piece.seconds[TIMING])
                    for piece in evaluated
                    if TIMING in piece.seconds
                ]
                if points:
                    sums[TIMING].add(extrapolate(points, Size(1.0, repeats)), None)


def _add_fit(job: Job, pieces: Sequence[Piece], rates: Rates, sums: Mapping[str, _Sum]) -> None:
    of_fit = [step for step in job_steps(job, rates) if step.stage in ("training", "clustering")]
    steps = _by_stage(of_fit)
    constants = _by_stage(step for step in of_fit if step.step in CONSTANT_STEPS)
    stage = next(iter(steps), None) or next((s for s in map(stage_of_fit, pieces) if s is not None), "training")
    estimated = steps.get(stage, 0.0)
    measured = [piece for piece in pieces if stage in piece.seconds]
    if not measured:
        sums[stage].add(Extrapolated(estimated, estimated, estimated), estimated, is_measured=False)
        return
    if not estimated:
        # Nothing that doctor knows grows with the tokens: the time is taken as it is.
        sums[stage].add(_range([piece.seconds[stage] for piece in measured]), None)
        return
    growing = _factors([(_growing(piece, stage), _estimated_growing(piece, stage)) for piece in measured])
    constant = _range([_rest_of_fit(piece, job, stage) for piece in measured])
    variable = estimated - constants.get(stage, 0.0)
    parts = (variable * factor + rest for factor, rest in zip(growing, constant, strict=True))
    sums[stage].add(Extrapolated(*parts), estimated)


def _add_evaluation(
    job: Job,
    kind: CellKind,
    pieces: Sequence[Piece],
    rates: Rates,
    corrected: Mapping[str, float],
    sums: Mapping[str, _Sum],
) -> None:
    stage = "evaluation"
    dictionary = _dictionary_estimate(job, rates)
    estimated = _evaluation_estimate(job, rates, 1.0) + dictionary
    measured = [piece for piece in pieces if stage in piece.seconds]
    if not measured:
        sums[stage].add(Extrapolated(estimated, estimated, estimated), estimated, is_measured=False)
        return
    reference = kind.representative
    growing = _factors([(_growing(piece, stage), _estimated_growing(piece, stage)) for piece in measured])
    # The network's part of the estimate is that of the measured passes, where backbones differ.
    its_own = _evaluation_estimate(job, rates, corrected.get(pass_key(sized_of(job)), 1.0))
    relative = corrected.get(pass_key(kind.sized), 1.0)
    of_reference = _evaluation_estimate(reference, rates, relative)
    scale = its_own / of_reference * _evaluation_estimate(reference, rates, 1.0) if of_reference else its_own
    of_kind = _dictionary_estimate(reference, rates)
    constant = _range([_constant(piece, stage) * (dictionary / of_kind if of_kind else 1.0) for piece in measured])
    parts = (scale * factor + rest for factor, rest in zip(growing, constant, strict=True))
    sums[stage].add(Extrapolated(*parts), estimated)


def _evaluation_estimate(job: Job, rates: Rates, network: float) -> float:
    """Return doctor's estimate of the growing part of an evaluation, with its network multiplied by a factor."""
    steps = job_steps(job._replace(full_fit=False, prerequisite=None), rates)
    return sum(
        step.seconds * (network if step.step in ("forward", "decode") else 1.0)
        for step in steps
        if step.step != DICTIONARY_STEP
    )


def _dictionary_estimate(job: Job, rates: Rates) -> float:
    """Return doctor's estimate of the part of an evaluation that is the same for any images."""
    steps = job_steps(job._replace(full_fit=False, prerequisite=None), rates)
    return sum(step.seconds for step in steps if step.step == DICTIONARY_STEP)


def _factors(pairs: Sequence[tuple[float, float]]) -> Extrapolated:
    """Return measured by estimated seconds of both shares together, and the range of the shares; 1 without any."""
    ratios = [measured / estimated for measured, estimated in pairs if estimated]
    if not ratios:
        return Extrapolated(1.0, 1.0, 1.0)
    pooled = sum(measured for measured, _ in pairs) / sum(estimated for _, estimated in pairs)
    return Extrapolated(pooled, min(ratios), max(ratios))


def _range(values: Sequence[float]) -> Extrapolated:
    """Return mean and range."""
    return Extrapolated(sum(values) / len(values), min(values), max(values))


def _growing(piece: Piece, stage: str) -> float:
    """Return the seconds of a stage that grow with its sizes, by the trace."""
    return min(float(piece.facts["growing"][stage]), piece.seconds[stage])


def _constant(piece: Piece, stage: str) -> float:
    return piece.seconds[stage] - _growing(piece, stage)


def _estimated_growing(piece: Piece, stage: str) -> float:
    """Return doctor's estimate of :func:`_growing`."""
    variable = piece.estimated.get(stage, 0.0) - float(piece.facts["constant"].get(stage, 0.0))
    return variable * float(piece.facts["traced"].get(stage, 1.0))


def _per_instance(piece: Piece, stage: str) -> float:
    """Return the seconds of a fit that grow with ELUDe's neurons and instances."""
    return min(float(piece.facts["per_instance"]), _constant(piece, stage)) if stage == "clustering" else 0.0


def _rest_of_fit(piece: Piece, job: Job, stage: str) -> float:
    """Return the seconds of a fit of the plan beside its growing part."""
    constant, of_instances = _constant(piece, stage), _per_instance(piece, stage)
    if not of_instances:
        return constant
    config = job.config if job.prerequisite is None else job.prerequisite.config
    neurons = layer_of_job(job).d_out / float(piece.facts["neurons"])
    growth = neurons * instances_of(config, job.n_tokens) / max(_instances(piece.facts["config"]), 1.0)
    return constant - of_instances + of_instances * growth


def _fits(measurements: Measurements, kinds: Iterable[CellKind], fit_key: str) -> list[Piece]:
    """Return the pieces of both shares that made a fit of a kind."""
    keys = [kind.key for kind in kinds if kind.fit_key == fit_key]
    pieces = [piece for key in keys for piece in _both(measurements, CELL, key) if stage_of_fit(piece) is not None]
    by_share: dict[str, Piece] = {}
    for piece in pieces:
        by_share.setdefault(piece.share, piece)
    return [by_share[share] for share in sorted(by_share)]


def _both(measurements: Measurements, kind: str, key: str) -> list[Piece]:
    pieces = (measurements.get(kind, share, key) for share in ("A", "B"))
    return [piece for piece in pieces if piece is not None]


def _instances(config: Mapping[str, Any]) -> float:
    """Return the instances per neuron of a recorded configuration, or of the method whose fit it needs."""
    nested = [values["config"] for values in config.values() if isinstance(values, Mapping) and "config" in values]
    return next((float(values["top_k"]) for values in (config, *nested) if values.get("top_k")), 0.0)


def _by_stage(steps: Iterable[Step]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for step in steps:
        sums[step.stage] = sums.get(step.stage, 0.0) + step.seconds
    return sums
