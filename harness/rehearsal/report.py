"""Report of a rehearsal: what was predicted and measured, the time of the whole plan, and where a GPU would wait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.doctor.rates import Rates
from harness.doctor.steps import STAGE_TITLES
from harness.doctor.workload import Workload
from harness.rehearsal.choice import Choice
from harness.rehearsal.extrapolation import (
    RUN_STAGE,
    STABILITY_STAGE,
    Checked,
    StageHours,
    checked,
    planned,
)
from harness.rehearsal.kinds import CellKind, Kinds
from harness.rehearsal.measurements import CELL, PASSES, SECTIONS, Measurements
from harness.rehearsal.shares import Share
from harness.rehearsal.watching import TIMING, stage_of_fit
from harness.suites import Suite
from methods.tracing import HOST
from results.duration_text import duration_text
from results.tables import Table

TITLES: dict[str, str] = {
    **{str(stage): title for stage, title in STAGE_TITLES.items()},
    TIMING: "timing protocol of Table 5",
    STABILITY_STAGE: "matching of units between seeds",
    RUN_STAGE: "loading of networks, start and end of runs",
}
#: Sections in the table of those in which a GPU would wait.
MOST_SECTIONS = 20


class Idle(NamedTuple):
    """Section in which a GPU would wait."""

    stage: str
    section: str
    seconds: float
    share: float
    """of the time of all sections"""


class KindRow(NamedTuple):
    """Kind of work, with the cells behind it."""

    title: str
    cells: int
    fits: int
    rehearsed_by: str
    """empty if it was rehearsed itself; else the kind that stands for it, or the reason why none does"""
    fit_seconds: list[float]
    evaluation_seconds: list[float]
    """of share A and share B"""


class Report(NamedTuple):
    """Result of a rehearsal."""

    suite: str
    device: str
    seconds: float
    """duration of this call; an earlier call may have measured a part"""
    measured_seconds: float
    """sum of all measured pieces of both shares"""
    load: list[float]
    speeds: list[float]
    """float32 products per second before each run, relative to the calibration"""
    shares: list[Share]
    check: list[Checked]
    plan: list[StageHours]
    kinds: list[KindRow]
    rates: dict[str, dict[str, float]]
    """per backbone: seconds per image of each pass; per kind of fit: seconds per token; per cell: seconds per image"""
    idle: list[Idle]
    device_share: float
    """share of the traced time that is computed on the device"""
    not_rehearsed: list[str]
    folder: str

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = self._asdict()
        for key in ("shares", "check", "plan", "kinds", "idle"):
            values[key] = [item._asdict() for item in values[key]]
        ratios = {"check_ratio": self.check_ratio, "doctor_ratio": self.doctor_ratio}
        return {**values, "total": self.total._asdict(), **ratios}

    @property
    def total(self) -> StageHours:
        """Sum of all stages of the plan."""
        estimates = [stage.estimated for stage in self.plan if stage.estimated is not None]
        sums = [sum(getattr(stage, name) for stage in self.plan) for name in ("seconds", "low", "high", "unmeasured")]
        return StageHours("all", sum(estimates), *sums)

    @property
    def check_ratio(self) -> float | None:
        """Measured time of the larger share, relative to its prediction; None if nothing was predicted."""
        predicted = sum(row.predicted for row in self.check)
        return sum(row.measured for row in self.check) / predicted if predicted else None

    @property
    def doctor_ratio(self) -> float | None:
        """Measured time of the larger share, relative to doctor's estimate, of what doctor estimates."""
        estimated = sum(row.estimated or 0.0 for row in self.check)
        return sum(row.comparable for row in self.check) / estimated if estimated else None


def make_report(
    suite: Suite,
    workload: Workload,
    kinds: Kinds,
    choice: Choice,
    measurements: Measurements,
    rates: Rates,
    device: str,
    *,
    shares: list[Share],
    reasons: Sequence[str],
    not_rehearsed: Sequence[str],
    runs: int,
    pairs: int,
    seconds: float,
    load: list[float],
    speeds: list[float],
    folder: Path,
) -> Report:
    """Return the report on the pieces of both shares."""
    check = checked(measurements)
    plan = planned(workload, kinds, choice, measurements, rates, device=device, runs=runs, pairs=pairs)
    idle, device_share = idle_sections(measurements)
    measured = sum(sum(piece.seconds.values()) for kind in (PASSES, CELL, "run") for piece in measurements.of(kind))
    return Report(
        suite.name,
        device,
        seconds,
        measured,
        load,
        speeds,
        shares,
        check,
        widened(plan, check),
        [_row(kind, kinds, choice, measurements) for kind in kinds.cells],
        measured_rates(kinds, measurements),
        idle,
        device_share,
        [*reasons, *not_rehearsed],
        str(folder),
    )


def widened(plan: Sequence[StageHours], check: Sequence[Checked]) -> list[StageHours]:
    """Return the stages with their ranges widened by the error of the check, in both directions."""
    compared = [row for row in check if row.predicted and row.measured]
    errors = {row.stage: max(row.measured / row.predicted, row.predicted / row.measured) for row in compared}
    return [
        stage._replace(low=stage.low / errors.get(stage.stage, 1.0), high=stage.high * errors.get(stage.stage, 1.0))
        for stage in plan
    ]


def idle_sections(measurements: Measurements) -> tuple[list[Idle], float]:
    """Return the host sections of both shares, longest first, and the share of device sections in all of the time."""
    sums: dict[tuple[str, str, str], float] = {}
    for piece in measurements.of(SECTIONS):
        for outermost, name, place, seconds in piece.facts["sections"]:
            sums[outermost, name, place] = sums.get((outermost, name, place), 0.0) + float(seconds)
    total = sum(piece.seconds["all"] for piece in measurements.of(SECTIONS))
    if not total:
        return [], 0.0
    on_host = {key: seconds for key, seconds in sums.items() if key[2] == HOST}
    device_share = sum(seconds for key, seconds in sums.items() if key[2] != HOST) / total
    rows = [
        Idle(outermost, name if name != outermost else f"{name}, rest", seconds, seconds / total)
        for (outermost, name, _), seconds in on_host.items()
    ]
    untraced = total - sum(sums.values())
    if untraced > 0:
        rows.append(Idle("run", "rest of the run, in no section", untraced, untraced / total))
    return sorted(rows, key=lambda row: -row.seconds), device_share


def measured_rates(kinds: Kinds, measurements: Measurements) -> dict[str, dict[str, float]]:
    """Return seconds per image, token and cell of the larger share, where it was measured."""
    rates: dict[str, dict[str, float]] = {}
    for of_backbone in kinds.passes:
        piece = measurements.get(PASSES, "B", of_backbone.key) or measurements.get(PASSES, "A", of_backbone.key)
        if piece is not None:
            per_image = {"tokens": "probing", "head": "probing", "baseline": "evaluated"}
            rates[of_backbone.backbone] = {
                f"{TITLES[stage]}, seconds per image": seconds / piece.facts[per_image[stage]]
                for stage, seconds in piece.seconds.items()
            }
    for kind in kinds.cells:
        piece = measurements.get(CELL, "B", kind.key) or measurements.get(CELL, "A", kind.key)
        if piece is None:
            continue
        row = {"evaluation, seconds per cell": piece.seconds.get("evaluation", 0.0)}
        stage = stage_of_fit(piece)
        if stage == "training":
            tokens = piece.facts["tokens"] * (piece.facts["config"].get("epochs") or 1)
            row["training, seconds per token"] = piece.seconds[stage] / tokens
        elif stage == "clustering":
            row["clustering, seconds per neuron"] = piece.seconds[stage] / piece.facts["neurons"]
        if piece.facts["n_units"]:
            row["evaluation, seconds per unit"] = row["evaluation, seconds per cell"] / piece.facts["n_units"]
        rates[kind.title] = row
    return rates


def tables(report: Report) -> list[Table]:
    """Return the tables of a report for the terminal."""
    return [_check_table(report), _plan_table(report), _idle_table(report), _kinds_table(report)]


def _check_table(report: Report) -> Table:
    rows = [
        [
            TITLES[row.stage],
            *map(duration_text, (row.first, row.predicted, row.measured)),
            _ratio(row.measured, row.predicted),
            duration_text(row.estimated),
            duration_text(row.comparable if row.estimated else None),
            _ratio(row.comparable, row.estimated),
        ]
        for row in report.check
    ]
    first, predicted, measured = (
        sum(getattr(row, name) for row in report.check) for name in ("first", "predicted", "measured")
    )
    estimated = sum(row.estimated or 0.0 for row in report.check)
    comparable = sum(row.comparable for row in report.check)
    total = [duration_text(first), duration_text(predicted), duration_text(measured), _ratio(measured, predicted)]
    rows.append(["all", *total, duration_text(estimated), duration_text(comparable), _ratio(comparable, estimated)])
    header = [
        *("part", "share A", "share B predicted", "share B measured", "ratio"),
        *("doctor's estimate of B", "measured, of what doctor estimates", "ratio"),
    ]
    note = "Doctor estimates neither fits without training or clustering, nor the parts with a dash."
    return Table("Check: share B, predicted from share A by doctor's sizes", header, rows, notes=[note])


def _plan_table(report: Report) -> Table:
    rows = [
        [TITLES.get(stage.stage, stage.stage), hours(stage.seconds), f"{hours(stage.low)} to {hours(stage.high)}",
         hours(stage.unmeasured) if stage.unmeasured else "", "" if stage.estimated is None else hours(stage.estimated),
         _ratio(stage.seconds, stage.estimated)]
        for stage in (*report.plan, report.total)
    ]  # fmt: skip
    header = ["part", "hours", "range", "of these not rehearsed", "doctor's estimate", "ratio"]
    notes = [
        "The range is that of the two shares by themselves, widened by the ratio of the check.",
        "Of the machine that ran the rehearsal. Work that was not rehearsed has doctor's estimate.",
    ]
    return Table(f"Time of {report.suite} in hours, extrapolated from both shares", header, rows, notes=notes)


def _idle_table(report: Report) -> Table:
    rows = [
        [row.section, row.stage, duration_text(row.seconds), f"{100 * row.share:.1f} %"]
        for row in report.idle[:MOST_SECTIONS]
    ]
    left = report.idle[MOST_SECTIONS:]
    if left:
        total = sum(row.seconds for row in left)
        rows.append([f"{len(left)} more", "", duration_text(total), f"{100 * sum(row.share for row in left):.1f} %"])
    note = f"Sections on the device take {100 * report.device_share:.0f} % of the time here, on {report.device}."
    title = "Sections in which a GPU would wait, by the place of the code"
    return Table(title, ["section", "inside", "seconds", "share"], rows, (False, False, True, True), notes=[note])


def _kinds_table(report: Report) -> Table:
    rows = [
        [row.title, str(row.cells), str(row.fits), " / ".join(map(duration_text, row.fit_seconds)),
         " / ".join(map(duration_text, row.evaluation_seconds)), row.rehearsed_by]
        for row in report.kinds
    ]  # fmt: skip
    header = ["kind", "cells", "fits", "fit A / B", "evaluation A / B", "not rehearsed itself"]
    notes = [
        "Cells of one kind differ in seeds, swept values, weights, or sizes that their time is proportional to: "
        "tokens, epochs, instances, cluster sizes. One of them is rehearsed.",
        *report.not_rehearsed,
    ]
    return Table("Kinds of cells", header, rows, (False, True, True, True, True, False), notes=notes)


def hours(seconds: float) -> str:
    """Return hours with three digits; in thousands as a whole number."""
    value = seconds / 3600
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _row(kind: CellKind, kinds: Kinds, choice: Choice, measurements: Measurements) -> KindRow:
    by_key = {each.key: each for each in kinds.cells}
    pieces = [piece for share in ("A", "B") if (piece := measurements.get(CELL, share, kind.key)) is not None]
    stand_in = by_key.get(choice.stand_ins.get(kind.key, ""))
    absent = choice.left_out.get(kind.key) or (f"as {stand_in.title}" if stand_in is not None else "")
    if not pieces and not absent:
        absent = "its cell failed"
    fits = [piece.seconds[stage] for piece in pieces if (stage := stage_of_fit(piece)) is not None]
    evaluations = [piece.seconds.get("evaluation", 0.0) for piece in pieces]
    return KindRow(kind.title, len(kind.jobs), kind.fits, absent, fits, evaluations)


def _ratio(value: float, reference: float | None) -> str:
    return f"{value / reference:.2f}" if reference else ""
