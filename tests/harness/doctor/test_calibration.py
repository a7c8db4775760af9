"""Calibration: rates come from the code of a run, are stored per machine, and no file can break an estimate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.commands.doctor import _sentences
from harness.datasets.synthetic import MemoryReader, jpegs
from harness.doctor import estimate
from harness.doctor.calibration import file as calibration_file
from harness.doctor.calibration import measure
from harness.doctor.calibration.file import file_of, load, rates_here, save
from harness.doctor.calibration.synthetic import image_set
from harness.doctor.calibration.timing import measured
from harness.doctor.counted_rates import CLUSTERING, TRAINING_STEPS
from harness.doctor.estimate import hours_text
from harness.doctor.layers import layer_of
from harness.doctor.rates import (
    ASSUMED,
    COMPOSED,
    COUNTED,
    DEFAULTS,
    MEASURED,
    MEASURED_GPU,
    ONE_THREAD,
    Rate,
    Rates,
    rate_text,
)
from harness.doctor.steps import DICTIONARY_STEP, STAGES, Step, fit_flops, job_steps
from harness.doctor.workload import Job
from harness.suites import Suite, load_suite, parse_suite
from methods import METHODS
from methods.base import make_config

#: One rate per name, of a machine that does everything in round numbers.
ROUND = {
    name: Rate(1e9, rate.unit, MEASURED, "a size", 0.1) for name, rate in DEFAULTS.items() if "training" not in name
}
ROUND["training topk_sae"] = Rate(2e9, "FLOP/s", MEASURED, "a size", 0.1)


def small(**changes: Any) -> Suite:
    layer = {"backbone": "dinov2_small_saliency", "site": "blocks.9.mlp.fc2", "head": "probe"}
    return parse_suite(
        {
            "name": "small",
            "data": {"dataset": "photos:20", "evaluation": 8},
            "targets": [layer],
            "methods": [{"name": "identity"}],
            **changes,
        }
    )


def test_a_measurement_repeats_its_work_within_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    calls: list[int] = []

    def work(n: int) -> float:
        nonlocal now
        calls.append(n)
        # The first call compiles.
        now += n * 0.5 + (10 if len(calls) == 1 else 0)
        return 3.0 * n

    monkeypatch.setattr("harness.doctor.calibration.timing.time.perf_counter", lambda: now)
    rate = measured(work, "pieces/s", "{n} pieces", seconds=60.0, start=1)
    assert calls == [1, 1, 1] or calls[-1] == calls[-2]
    assert rate.value == pytest.approx(6.0) and rate.spread == 0 and rate.source == MEASURED
    assert rate.size == f"{calls[-1]} pieces"


def test_synthetic_images_are_jpegs_of_imagenets_size() -> None:
    images = image_set(40)
    assert isinstance(images.reader, MemoryReader) and len(images) == 40
    image = images.open(33)
    assert isinstance(image, Image.Image) and image.size == (500, 375)
    # ImageNet's files have 110 kB on average.
    assert 60_000 < sum(map(len, jpegs())) / len(jpegs()) < 220_000
    assert jpegs()[0] != jpegs()[1]


def test_rates_are_kept_for_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tmp_path, "cpu") == (None, "")
    save(tmp_path, "cpu", ROUND)
    rates, note = rates_here(tmp_path, "cpu")
    assert rates.calibrated and not note and not rates.overlapping
    assert rates["decode"] == ROUND["decode"]
    # Another method's steps: sparse codes like TopK's, and dense ones, which were not measured.
    assert rates["training batchtopk_sae"].value == 2e9
    assert rates["training vanilla_sae"] == DEFAULTS["training vanilla_sae"]
    assert rates["training gated_sae"].value == 2e9
    # What is not measured again is kept.
    once = {"preparation topk_sae": Rate(0.5, "fits/s", MEASURED, "one fit")}
    save(tmp_path, "cpu", {"decode": ROUND["decode"]._replace(value=5.0), **once})
    again, _ = rates_here(tmp_path, "cpu")
    assert again["decode"].value == 5.0 and again["clustering"].value == 1e9
    assert again["preparation topk_sae"] == once["preparation topk_sae"]
    monkeypatch.setattr(calibration_file.devices, "processor_name", lambda: "another one")
    rates, note = rates_here(tmp_path, "cpu")
    assert not rates.calibrated and "of another machine" in note and "--calibrate" in note


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '{"version": 1}',
        "[" * 100_000,
        b"\xff\xfe",
        "x" * (2 << 20),
        {"version": 99},
        {"rates": {}},
        {"rates": []},
        {"rates": {"decode": {"value": "many"}}},
        *({"rates": {"decode": {"value": value, "unit": "images/s", "size": "", "spread": 0}}} for value in (0, -1)),
        {"rates": {"decode": {"value": float("nan"), "unit": "images/s", "size": "", "spread": 0}}},
        {"machine": {"device": "cpu"}},
    ],
)
def test_a_damaged_file_is_ignored_with_a_sentence(tmp_path: Path, content: Any) -> None:
    save(tmp_path, "cpu", ROUND)
    file = file_of(tmp_path, "cpu")
    if isinstance(content, dict):
        file.write_text(json.dumps({**json.loads(file.read_text()), **content}))
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content)
    rates, note = rates_here(tmp_path, "cpu")
    assert not rates.calibrated and "damaged and ignored" in note and len(note) < 600
    # The next calibration replaces it.
    save(tmp_path, "cpu", ROUND)
    assert rates_here(tmp_path, "cpu")[0].calibrated


def test_every_step_names_its_source_and_the_hours_are_their_sum() -> None:
    for name in ("paper", "demo"):
        assumed = estimate(load_suite(name))
        assert {step.source for step in assumed.steps} <= {ASSUMED, COMPOSED, COUNTED, MEASURED_GPU, ONE_THREAD}
        forward = {step.rate: step.source for step in assumed.steps if step.step == "forward"}
        # No ConvNeXt was run on a GPU.
        assert forward == {rate: ASSUMED if rate == "network convnext" else MEASURED_GPU for rate in forward}
        assert assumed.gpu_hours == pytest.approx(sum(step.seconds for step in assumed.steps) / 3600)
        # No head is fitted in the paper's suite.
        assert {step.stage for step in assumed.steps} == set(STAGES) - ({"head"} if name == "paper" else set())
    mixed = estimate(small(methods=[{"name": "vanilla_sae"}]), Rates(ROUND, overlapping=False))
    assert mixed.calibrated
    assert {step.source for step in mixed.steps if step.step == "vanilla_sae"} == {COUNTED}
    assert {step.source for step in mixed.steps if step.step != "vanilla_sae"} == {MEASURED}


def test_steps_of_a_small_suite_in_closed_form() -> None:
    """12 probing images and 8 evaluated ones of a network of 12.1 GFLOPs, at a rate of 1 of everything."""
    rates = Rates({name: rate._replace(value=1.0) for name, rate in ROUND.items()}, overlapping=False)
    steps = {(step.stage, step.step): step.seconds for step in estimate(small(), rates).steps}
    flops = 12.1e9
    # The probing pass makes the features of the probe too; later passes start before the tenth of twelve blocks.
    assert steps["tokens", "forward"] == pytest.approx(12 * flops)
    assert steps["tokens", "decode"] == 12
    assert steps["tokens", "write"] == 12 * 2 * (1920 * 4 + 20)
    assert ("head", "forward") not in steps
    assert steps["baseline", "forward"] == pytest.approx(8 * flops * (1 + 2 * 3 / 12))
    assert steps["baseline", "decode"] == 8
    assert steps["baseline", "read of states"] == 2 * 8 * 257 * 384 * 4
    assert steps["evaluation", "forward"] == pytest.approx(8 * flops * 3 / 12)
    assert steps["evaluation", "unit statistics and metrics"] == 8 * 257 * 384
    # On a GPU, images are decoded while the network runs.
    overlapping = Rates(rates.measured, overlapping=True)
    assert ("tokens", "decode") not in {(step.stage, step.step) for step in estimate(small(), overlapping).steps}


def test_umap_is_a_step_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """384 neurons with all 24 tokens as instances, for two token seeds."""

    monkeypatch.setenv("HARNESS_CLUSTER_PRODUCTS", "float32")

    def steps(**config: Any) -> dict[str, Step]:
        entry = {"name": "elude", "config": {"top_k": 100, "min_cluster_size": 5, **config}}
        suite = small(methods=[entry], seeds={"tokens": [1, 2], "init": [1]})
        return {step.step: step for step in estimate(suite).steps if step.stage == "clustering"}

    assert set(steps()) == {"elude", "preparation of fits", "reading of tokens"}
    points = 2 * 384 * 24
    slow, fast = steps(umap_dims=3)["UMAP umap-learn"], steps(umap_dims=3, umap_backend="cuml")["UMAP cuml"]
    assert slow.seconds == pytest.approx(points / DEFAULTS["UMAP umap-learn"].value)
    assert fast.seconds == pytest.approx(points / DEFAULTS["UMAP cuml"].value)
    assert slow.source == ONE_THREAD and fast.source == ASSUMED


def test_sweeps_and_shared_passes_count_as_the_run_computes_them() -> None:
    one = estimate(small(seeds={"tokens": [1], "init": [1]}), Rates(ROUND, overlapping=False))
    three = estimate(small(seeds={"tokens": [1, 2, 3], "init": [1]}), Rates(ROUND, overlapping=False))
    seconds = [{(step.stage, step.step): step.seconds for step in each.steps} for each in (one, three)]
    # One pass for three token sets.
    assert seconds[1]["tokens", "forward"] == seconds[0]["tokens", "forward"]
    assert seconds[1]["tokens", "write"] == pytest.approx(3 * seconds[0]["tokens", "write"])
    assert seconds[1]["evaluation", "forward"] == pytest.approx(3 * seconds[0]["evaluation", "forward"])


def test_clustering_is_estimated_in_the_precision_that_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = small(methods=[{"name": "elude", "config": {"top_k": 20, "min_cluster_size": 5}}])

    def steps(rates: Rates) -> dict[str, float]:
        steps = [step for step in estimate(suite, rates).steps if step.stage == "clustering"]
        return {step.step: step.seconds for step in steps if step.step.startswith("elude")}

    # All pairs of 20 instances for 384 neurons of 1536 inputs, three times as many FLOPs.
    flops = 384 * 3 * 20**2 * 1536
    monkeypatch.delenv("HARNESS_CLUSTER_PRODUCTS", raising=False)
    assert steps(Rates()) == {"elude, tf32": pytest.approx(flops / CLUSTERING)}
    monkeypatch.setenv("HARNESS_CLUSTER_PRODUCTS", "float32")
    assert steps(Rates()) == {"elude": pytest.approx(flops / 63.4e12)}
    monkeypatch.setenv("HARNESS_CLUSTER_PRODUCTS", "bf16x3")
    assert steps(Rates()) == {"elude, bf16x3": pytest.approx(flops / 67.8e12)}
    # A calibration has measured the precision of this machine.
    assert steps(Rates(ROUND, overlapping=False)) == {"elude": pytest.approx(flops / 1e9)}


def test_layers_of_a_network_share_one_probing_pass() -> None:
    """It runs up to the deepest of them; with random crops a probe needs the centre crop besides."""

    def forward(crops: int, *sites: str, head: str | None = None) -> float:
        suite = small(
            targets=[{"backbone": "dinov2_vits14", "site": site, "head": head} for site in sites],
            probing={"crops": crops, "tokens_per_image": 2},
        )
        steps = estimate(suite, Rates(ROUND, overlapping=False)).steps
        return sum(step.seconds for step in steps if (step.stage, step.step) == ("tokens", "forward"))

    deep, shallow = "blocks.9.mlp.fc2", "blocks.4.mlp.fc2"
    assert forward(0, shallow, head="dinov2_linear") == pytest.approx(forward(0, deep, head="dinov2_linear") / 2)
    assert forward(0, shallow, deep, head="dinov2_linear") == forward(0, deep, head="dinov2_linear")
    assert forward(3, deep, head="dinov2_linear") == pytest.approx(3 * forward(0, deep, head="dinov2_linear"))
    assert forward(3, deep, head="probe") > forward(3, deep, head="dinov2_linear")


def test_cells_that_are_measured_on_stored_outputs_run_no_network() -> None:
    def forward(name: str, metrics: list[str]) -> float:
        suite = small(methods=[{"name": name}], evaluation={"metrics": metrics})
        steps = estimate(suite, Rates(ROUND, overlapping=False)).steps
        return sum(step.seconds for step in steps if (step.stage, step.step) == ("evaluation", "forward"))

    assert forward("topk_sae", ["l0", "r2"]) == 0
    assert forward("topk_sae", ["l0", "agreement"]) > 0
    # A method that reads the input of the layer needs it in any case.
    assert forward("transcoder", ["l0", "r2"]) > 0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(54.91e9, "FLOP/s", "54.9 GFLOP/s"), (4.35e8, "bytes/s", "435 MB/s"), (216.1, "images/s", "216 images/s")],
)
def test_rates_are_readable(value: float, unit: str, text: str) -> None:
    assert rate_text(Rate(value, unit)) == text
    assert hours_text(0.01) == "minutes"


@pytest.mark.slow
def test_a_calibration_measures_every_rate_and_leaves_nothing_behind(tmp_path: Path) -> None:
    rates = measure.calibrate(tmp_path, seconds=5, trained=["topk_sae"])
    unmeasured = ("training ", "clustering ", "UMAP ", "fits", "compilation", "matching")
    assert {name for name in DEFAULTS if not name.startswith(unmeasured)} <= set(rates)
    assert "training topk_sae" in rates and "training vanilla_sae" not in rates
    assert "preparation topk_sae" in rates
    for name, rate in rates.items():
        assert rate.value > 0 and rate.source == MEASURED and rate.size
        assert (rate.spread is None) == name.startswith("preparation ")
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_counts_the_metrics_of_the_suite() -> None:
    layer = layer_of("dinov2_vitb14", "blocks.11.mlp.fc2")
    assert layer is not None
    config = make_config(METHODS.get("random_dictionary"), {"expansion_factor": 8})
    job = Job("random_dictionary", config, layer, 100, 10, False)
    values = {"cells": 1.0, "cells effective_rank": 0.1}
    rates = Rates({name: Rate(value, "cells/s", MEASURED, "", 0.0) for name, value in values.items()})

    def of_dictionary(metrics: tuple[str, ...] | None, job: Job = job) -> float:
        steps = job_steps(job._replace(metrics=metrics), rates)
        return sum(step.seconds for step in steps if step.step == "metrics of the dictionary")

    # One second for what every cell does, whatever its size, and ten for the singular values of 6144 x 768.
    assert of_dictionary(("r2", "l0")) == pytest.approx(1.0)
    assert of_dictionary(("r2", "effective_rank")) == of_dictionary(None) == pytest.approx(11.0)
    # The rows of a split have the width of the input: four times 768.
    split = job._replace(method="random_split", config=make_config(METHODS.get("random_split"), {"parts": 8}))
    assert of_dictionary(("effective_rank",), split) == pytest.approx(1.0 + 4 * 10.0)
    # The default rate is of all of an evaluation, and so in proportion to the dictionary.
    both = [sum(s.seconds for s in job_steps(j, Rates()) if s.step == DICTIONARY_STEP) for j in (job, split)]
    assert both[1] == pytest.approx(4 * both[0])


def test_the_atoms_of_an_archetypal_sae_are_computed_in_every_step() -> None:
    layer = layer_of("dinov2_vitb14", "blocks.11.mlp.fc2")
    assert layer is not None
    method = METHODS.get("archetypal_sae")
    flops = [
        fit_flops(Job("archetypal_sae", make_config(method, {"epochs": 1, "batch_size": batch}), layer, 4096, 0, True,
                      reads_input=False), layer)
        for batch in (1024, 4096)
    ]  # fmt: skip
    # Four steps instead of one: three more products of (6144, 6144) and (6144, 768), forward and backward.
    assert flops[0] - flops[1] == pytest.approx(3 * 6 * 6144 * 6144 * 768)


def test_rates_of_an_h200_give_the_times_of_their_parts() -> None:
    """One neuron with 400,000 instances, and one training step of each method."""
    layer = layer_of("dinov2_vitb14", "blocks.11.mlp.fc2")
    assert layer is not None
    elude = make_config(METHODS.get("elude"), {"top_k": 400_000})
    flops = fit_flops(Job("elude", elude, layer, 2_562_334, 0, True), layer) / layer.d_out
    assert flops / DEFAULTS["clustering"].value == pytest.approx(23.24, rel=0.01)
    assert flops / DEFAULTS["clustering tf32"].value == pytest.approx(4.4, rel=0.01)
    for name, step in TRAINING_STEPS.items():
        settings: dict[str, Any] = {"expansion_factor": 8, "epochs": 1, "batch_size": 4096}
        if "k" in METHODS.get(name).Config.model_fields and name != "archetypal_sae":
            settings["k"] = 20
        config = make_config(METHODS.get(name), settings)
        of_fit = fit_flops(Job(name, config, layer, 4096, 0, True, reads_input=False), layer)
        assert of_fit / DEFAULTS[f"training {name}"].value == pytest.approx(step.seconds, rel=0.001), name
    # 0.193 TFLOP in bfloat16, 1.99 GB and 75 kernels.
    assert 1e3 * TRAINING_STEPS["topk_sae"].seconds == pytest.approx(0.4825 + 0.5686 + 0.225, rel=1e-3)


def test_timings_in_the_network_are_counted_by_the_protocol() -> None:
    """600 pairs of 256 images, eager and compiled, of ViT-B/14; a split has three modes."""
    table = estimate(load_suite("table5"))
    seconds = {name: sum(step.seconds for step in table.steps if step.step == name) for name in (
        "timing in the network", "compilation of networks"
    )}  # fmt: skip
    methods = [entry.name for entry in load_suite("table5").methods]
    modes = sum(3 if name == "elude" else 1 for name in methods)
    network = 2 * 2 * 600 * 256 * 46.9e9 / DEFAULTS["network vit_base"].value
    assert modes * network < seconds["timing in the network"] < 1.3 * modes * network
    assert seconds["compilation of networks"] == pytest.approx(2 * modes / DEFAULTS["compilation"].value)
    # A CPU times 34 pairs of 2 images and compiles nothing.
    here = estimate(load_suite("table5"), Rates(ROUND, overlapping=False))
    of_cpu = [step for step in here.steps if step.step == "timing in the network"]
    assert sum(step.seconds for step in of_cpu) < modes * 2 * 34 * 2 * 46.9e9 / 1e9 * 1.3
    assert not any(step.step == "compilation of networks" for step in here.steps)


def test_units_are_matched_between_all_pairs_of_seeds() -> None:
    def seconds(name: str, tokens: list[int], **config: Any) -> float:
        suite = small(methods=[{"name": name, "config": config}], seeds={"tokens": tokens, "init": [1]})
        return sum(step.seconds for step in estimate(suite).steps if step.step == "matching of units")

    pair = (8 * 384 / 6144) ** 3 / DEFAULTS["matching"].value
    # Four at a time: three pairs take as long as one, ten as long as three.
    assert seconds("topk_sae", [1, 2, 3], expansion_factor=8) == pytest.approx(pair)
    assert seconds("topk_sae", [1, 2, 3, 4, 5], expansion_factor=8) == pytest.approx(3 * pair)
    assert seconds("topk_sae", [1], expansion_factor=8) == 0
    assert seconds("identity", [1, 2, 3]) == seconds("random_split", [1, 2, 3]) == 0


def test_preparing_a_fit_is_counted_once_per_fit() -> None:
    suite = small(methods=[{"name": "topk_sae"}], seeds={"tokens": [1, 2], "init": [1]})
    seconds = {step.step: step.seconds for step in estimate(suite).steps}
    assert seconds["preparation of fits"] == pytest.approx(2 / DEFAULTS["fits"].value)
    assert seconds["reading of tokens"] == pytest.approx(2 * 24 * 384 * 4 / DEFAULTS["disk read"].value)


def test_a_measured_preparation_grows_with_the_dictionary() -> None:
    """One second for 6144 units of width 768, and an eighth of it for 1536 of width 384."""
    suite = small(methods=[{"name": "topk_sae", "config": {"expansion_factor": 4}}], seeds={"tokens": [1], "init": [1]})
    rates = Rates({"preparation topk_sae": Rate(1.0, "fits/s", MEASURED, "one fit")}, overlapping=False)
    seconds = {step.step: step.seconds for step in estimate(suite, rates).steps}
    assert seconds["preparation of fits"] == pytest.approx(1 / 8)


def test_a_clustering_of_fixed_size_is_repeated_twice() -> None:
    from harness.doctor.calibration.fits import _clustering
    from harness.doctor.calibration.timing import repeated

    rate = repeated(_clustering(200, 200, 16, 1, "cpu"), 1, "FLOP/s", "{n} x 1 neurons")
    assert rate.value > 0 and rate.size == "1 x 1 neurons"


def test_an_estimate_says_how_much_of_it_no_gpu_has_run() -> None:
    """Training and clustering of the paper's suite; once they are measured here, nothing is left to say."""
    suite = load_suite("paper")
    (total, changed) = [line for line in _sentences(estimate(suite)) if "H200" in line or "Of these" in line]
    assert total.startswith("One H200: about ") and changed.endswith("have not run on a GPU since they changed.")
    rates = Rates({**ROUND, **{f"training {name}": ROUND["training topk_sae"] for name in TRAINING_STEPS}})
    assert not any("Of these" in line for line in _sentences(estimate(suite, rates)))
