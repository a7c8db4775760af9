"""Extrapolation of a plan whose time follows a known law: recovered exactly, stage by stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.doctor.rates import MEASURED, Rate, Rates
from harness.doctor.steps import CONSTANT_STEPS, Images, Step, image_steps, job_steps, pass_steps
from harness.doctor.workload import workload_of
from harness.rehearsal.choice import Choice, choose
from harness.rehearsal.extrapolation import checked, planned, predicted
from harness.rehearsal.kinds import CellKind, kinds_of, layer_of_job
from harness.rehearsal.measurements import CELL, PASSES, RUN, STABILITY, Measurements, Piece
from harness.rehearsal.report import TITLES, idle_sections, make_report, tables, widened
from harness.rehearsal.shares import Share, probing_images, reduced_job
from harness.rehearsal.watching import share_after_first_step
from harness.suites import load_suite

SUITE = load_suite("table2")
WORKLOAD = workload_of(SUITE)
KINDS = kinds_of(WORKLOAD)
VALUES = {
    **{f"network {name}": 4e10 for name in ("vit_small", "vit_base", "convnext", "cnn")},
    **{"decode": 200.0, "crops": 200.0, "float32 products": 6e10, "clustering": 4e10, "codes": 3e7, "cells": 0.2},
    **{"training topk_sae": 1e11, "training vanilla_sae": 1e11, "disk write": 4e8, "disk read": 2e9},
}
RATES = Rates({name: Rate(value, "", MEASURED, "", 0.0) for name, value in VALUES.items()}, overlapping=False)
FIRST = Share("A", 2, 2, 2, 1000, 2, 1)
SHARES = [FIRST, FIRST.larger(2.0, "B")]
#: The machine takes this multiple of doctor's estimate.
SLOWER = {"tokens": 3.0, "baseline": 2.0, "training": 5.0, "clustering": 0.5, "evaluation": 4.0}


#: Seconds that do not grow with doctor's sizes.
PER_FIT, PER_INSTANCE = 0.5, 1e-4
#: Seconds of the first step of a training.
FIRST_STEP = 30.0


def measured(file: Path, choice: Choice) -> Measurements:
    """Return measurements of a machine whose every stage takes a multiple of doctor's estimate."""
    measurements = Measurements(file)
    for share in SHARES:
        for of_backbone in KINDS.passes:
            layer = of_backbone.representative.layer
            assert layer is not None
            images = Images(layer, 24 * share.evaluated, 0, share.evaluated, layer.before, 1, 1, None, 1000)
            steps: dict[str, float] = {}
            for step in image_steps(images, RATES):
                steps[step.stage] = steps.get(step.stage, 0.0) + step.seconds
            facts = {"probing": images.probing, "evaluated": images.evaluated}
            seconds = {stage: SLOWER[stage] * value for stage, value in steps.items()}
            measurements.add(Piece(PASSES, share.label, of_backbone.key, seconds, steps, facts))
        fits: set[str] = set()
        for kind in choice.kinds:
            measurements.add(_cell(kind, share, kind.fit_key not in fits))
            fits.add(kind.fit_key)
        measurements.add(Piece(RUN, share.label, "suite", {"run": 7.0}, {}, {}))
        measurements.add(Piece(STABILITY, share.label, "suite", {"stability": 11.0}, {}, {}))
    return measurements


def _cell(kind: CellKind, share: Share, fits: bool) -> Piece:
    images = probing_images(share, [kind], layer_of_job(kind.representative))
    job = reduced_job(kind.representative, share, images)._replace(full_fit=fits)
    estimated: dict[str, float] = {}
    constant: dict[str, float] = {}
    for step in job_steps(job, RATES):
        is_constant = step.step in CONSTANT_STEPS
        part = share.neurons / layer_of_job(job).d_out if step.stage == "clustering" and not is_constant else 1.0
        estimated[step.stage] = estimated.get(step.stage, 0.0) + part * step.seconds
        constant[step.stage] = constant.get(step.stage, 0.0) + (step.seconds if is_constant else 0.0)
    seconds = {stage: SLOWER[stage] * value for stage, value in estimated.items()}
    after_first = share_after_first_step(job.config.model_dump(), job.n_tokens)
    growing = {"training": 0.0, "clustering": 0.0}
    for stage, value in estimated.items():
        growing[stage] = SLOWER[stage] * (value - constant[stage]) * (after_first if stage == "training" else 1.0)
    per_instance = 0.0
    if fits:
        # Something of which doctor knows nothing: constant per fit, and per neuron and instance of ELUDe.
        stage = "clustering" if "clustering" in seconds else "training"
        per_instance = PER_INSTANCE * share.neurons * (getattr(job.config, "top_k", None) or 0)
        seconds[stage] = seconds.get(stage, 0.0) + (per_instance or PER_FIT)
        if hasattr(job.config, "epochs"):
            # The first step is not among those that grow, and takes longer than they do.
            seconds[stage] += FIRST_STEP - SLOWER[stage] * (estimated[stage] - constant[stage]) * (1 - after_first)
    facts = {
        **{"evaluated": share.evaluated, "neurons": share.neurons, "n_units": 6144, "repeats": share.repeats},
        **{"config": job.config.model_dump(mode="json"), "tokens": job.n_tokens, "is_loaded": not fits},
        **{"growing": growing, "constant": constant, "per_instance": per_instance},
        **{"traced": {"training": after_first}},
    }
    return Piece(CELL, share.label, kind.key, seconds, estimated, facts)


@pytest.fixture
def choice() -> Choice:
    return choose(KINDS, {}, FIRST, RATES, "cpu", 1e9)


def work() -> list[Step]:
    """Return doctor's steps of passes and cells; a rehearsal measures what a plan costs besides by itself."""
    passes = [step for _, steps in pass_steps(WORKLOAD, RATES) for step in steps]
    return passes + [step for job in (*WORKLOAD.final, *WORKLOAD.swept) for step in job_steps(job, RATES)]


def test_a_machine_that_follows_doctors_sizes_gives_its_estimate_times_the_factor(
    tmp_path: Path, choice: Choice
) -> None:
    stages = planned(WORKLOAD, KINDS, choice, measured(tmp_path / "m", choice), RATES, device="cpu", runs=5, pairs=6)
    of_doctor: dict[str, float] = {}
    for step in work():
        of_doctor[step.stage] = of_doctor.get(step.stage, 0.0) + step.seconds
    by_stage = {stage.stage: stage for stage in stages}
    fits = [job for kind in KINDS.cells for job in kind.jobs if job.full_fit]
    rest = {
        "training": PER_FIT * sum(job.method != "elude" for job in fits)
        + FIRST_STEP * sum(hasattr(job.config, "epochs") for job in fits),
        "clustering": sum(PER_INSTANCE * 768 * (getattr(job.config, "top_k", None) or 0) for job in fits),
    }
    for stage in ("tokens", "baseline", "clustering", "evaluation", "training"):
        assert by_stage[stage].estimated == pytest.approx(of_doctor[stage], rel=1e-6)
        # The test's passes write a single byte, so their measured mix of steps is not quite the plan's.
        tolerance = 0.02 if stage in ("tokens", "baseline") else 2e-3
        seconds = SLOWER[stage] * of_doctor[stage] + rest.get(stage, 0.0)
        assert by_stage[stage].seconds == pytest.approx(seconds, rel=tolerance), stage
        assert by_stage[stage].unmeasured == 0
    # What doctor does not know is not lost in the tolerance.
    trained = SLOWER["training"] * of_doctor["training"] + rest["training"]
    assert by_stage["training"].seconds == pytest.approx(trained, rel=1e-9)
    assert rest["clustering"] == pytest.approx(115_200)
    assert by_stage["run"].seconds == 5 * 7.0 and by_stage["stability"].seconds == 6 * 11.0


def test_the_check_compares_the_larger_share_with_its_prediction(tmp_path: Path, choice: Choice) -> None:
    rows = {row.stage: row for row in checked(measured(tmp_path / "m", choice))}
    for stage, factor in SLOWER.items():
        assert rows[stage].measured == pytest.approx(rows[stage].predicted, rel=0.02), stage
        assert rows[stage].measured >= factor * (rows[stage].estimated or 0) * 0.98 > 0
    assert rows["run"].predicted == rows["run"].measured == 7.0 and rows["run"].estimated is None


def test_kinds_without_a_measurement_have_doctors_estimate_and_say_so(tmp_path: Path, choice: Choice) -> None:
    stages = planned(WORKLOAD, KINDS, choice, Measurements(tmp_path / "m"), RATES, device="cpu", runs=0, pairs=0)
    assert sum(stage.seconds for stage in stages) == pytest.approx(sum(step.seconds for step in work()))
    assert all(stage.unmeasured == stage.seconds for stage in stages)


def test_the_range_is_widened_by_the_error_of_the_check(tmp_path: Path, choice: Choice) -> None:
    measurements = measured(tmp_path / "m", choice)
    stages = planned(WORKLOAD, KINDS, choice, measurements, RATES, device="cpu", runs=1, pairs=1)
    check = checked(measurements)
    doubled = [row._replace(measured=2 * row.predicted) for row in check]
    for before, after in zip(stages, widened(stages, doubled), strict=True):
        assert (after.low, after.high) == pytest.approx((before.low / 2, 2 * before.high))


def test_a_report_has_every_kind_and_its_tables_can_be_printed(tmp_path: Path, choice: Choice) -> None:
    measurements = measured(tmp_path / "m", choice)
    sections = [["fit", "training steps", "device", 6.0], ["fit", "reading", "host", 3.0]]
    measurements.add(Piece("sections", "A", "suite", {"all": 10.0}, {}, {"sections": sections}))
    report = make_report(
        *(SUITE, WORKLOAD, KINDS, choice, measurements, RATES, "cpu"),
        **{"shares": SHARES, "reasons": [], "not_rehearsed": ["judging"], "runs": 5, "pairs": 6},
        **{"seconds": 1.0, "load": [0.5], "speeds": [1.0], "folder": tmp_path},
    )
    assert sum(row.cells for row in report.kinds) == len(WORKLOAD.final) + len(WORKLOAD.swept)
    assert report.check_ratio == pytest.approx(1.0, rel=0.02)
    assert [(row.section, row.seconds) for row in report.idle] == [
        ("reading", 3.0), ("rest of the run, in no section", 1.0)
    ]  # fmt: skip
    assert report.device_share == 0.6 and idle_sections(Measurements(tmp_path / "none")) == ([], 0.0)
    for table in tables(report):
        assert all(len(row) == len(table.header) for row in table.rows)
    assert {"total", "check_ratio", "kinds"} <= set(report.as_json())
    assert {stage.stage for stage in report.plan} <= set(TITLES)


def test_sizes_that_doctor_does_not_know_grow_by_their_own_numbers() -> None:
    first = Piece(CELL, "A", "k", {"timing": 3.0}, {}, {"repeats": 1})
    second = Piece(CELL, "B", "k", {"timing": 4.0}, {}, {"repeats": 2})
    assert predicted(first, second, "timing") == pytest.approx(3.0 * 4 / 3)
    run = first._replace(seconds={"run": 7.0})
    assert predicted(run, second, "run") == 7.0


def test_measurements_continue_from_their_file_and_ignore_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "new" / "m.jsonl"
    Measurements(file).add(Piece(CELL, "A", "k", {"evaluation": 1.0}, {}, {}))
    Measurements(file).add(Piece(CELL, "A", "k", {"evaluation": 2.0}, {}, {}))
    with file.open("a") as handle:
        handle.write('{"kind": "cell", "sha')
    again = Measurements(file)
    [piece] = again.of(CELL)
    assert piece.seconds == {"evaluation": 2.0} and again.get(CELL, "B", "k") is None
