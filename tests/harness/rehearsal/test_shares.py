"""Shares of a plan: sizes are respected, shapes stay real, clusters shrink in proportion, and suites are valid."""

from __future__ import annotations

import pytest

from harness.doctor.rates import MEASURED, Rate, Rates
from harness.doctor.workload import workload_of
from harness.rehearsal.choice import choose, first_share, second_share, seconds_of, seconds_of_both
from harness.rehearsal.kinds import kinds_of, layer_of_job, pass_key
from harness.rehearsal.shares import Share, probing_images, reduced, reduced_job
from harness.rehearsal.suites import rehearsed_suites, stability_suite
from harness.suites import load_suite

SHARE = Share("A", 2, 3, 1, 1000, 2, 1)
#: Two cores of 2026.
MEASURED_RATES = {
    **{f"network {name}": 4e10 for name in ("vit_small", "vit_base", "convnext", "cnn")},
    **{"decode": 200.0, "crops": 200.0, "float32 products": 6e10, "clustering": 4e10, "codes": 3e7, "cells": 0.2},
    **{"training topk_sae": 1e11, "training vanilla_sae": 1e11, "disk write": 4e8, "disk read": 2e9},
}
RATES = Rates({name: Rate(value, "", MEASURED, "", 0.0) for name, value in MEASURED_RATES.items()}, overlapping=False)
KINDS = kinds_of(workload_of(load_suite("paper")))


def test_settings_at_a_share() -> None:
    config = {"top_k": 400_000, "min_cluster_size": 1000, "cluster_selection_method": "leaf"}
    small = reduced("elude", config, SHARE, 6000, 2_562_334)
    assert small == {**config, "top_k": 1000, "min_cluster_size": 2}
    assert reduced("elude", {**config, "min_samples": 100_000}, SHARE, 500, 2_562_334)["min_samples"] == 125
    trained = reduced("topk_sae", {"expansion_factor": 8, "epochs": 50, "k": 20}, SHARE, 6168, 2_562_334)
    assert trained == {"expansion_factor": 8, "epochs": 1, "k": 20}
    # Batches are those of the plan, unless there are fewer tokens.
    assert reduced("topk_sae", {"epochs": 50}, SHARE, 600, 2_562_334)["batch_size"] == 600
    nested = {"counts_of": {"name": "elude", "config": config}}
    assert reduced("random_split", nested, SHARE, 6000, 10**6)["counts_of"]["config"]["top_k"] == 1000
    # A plan that is smaller than the share is not enlarged.
    assert reduced("topk_sae", {"epochs": 1}, SHARE.larger(4, "B"), 6168, 10**6)["epochs"] == 1


@pytest.mark.parametrize("factor", [1.5, 2.0, 4.0])
def test_a_larger_share_is_larger_in_all_sizes(factor: float) -> None:
    larger = SHARE.larger(factor, "B")
    assert larger.evaluated > SHARE.evaluated and larger.epochs > SHARE.epochs and larger.repeats > SHARE.repeats
    assert larger.instances == pytest.approx(SHARE.instances * factor**0.5, abs=1) and larger.neurons == SHARE.neurons


def test_suites_have_the_shapes_of_the_plan_and_the_sizes_of_the_share() -> None:
    suites = rehearsed_suites("paper", KINDS.passes, [*KINDS.cells, *KINDS.carriers], SHARE)
    labels = [label for rehearsed in suites for label in rehearsed.kinds]
    assert len(labels) == len(set(labels)) == len(KINDS.cells) + len(KINDS.carriers)
    for rehearsed in suites:
        suite = rehearsed.suite
        assert suite.data.dataset == f"synthetic:{rehearsed.probing}+3" and suite.judging is None
        assert suite.probing.tokens_per_image is None and suite.probing.dtype == "float16"
        for target in suite.targets:
            assert not target.weights and target.checkpoint is None
            for entry in target.methods or ():
                plan = rehearsed.kinds[entry.label or ""].entry
                assert entry.config.get("expansion_factor") == plan.config.get("expansion_factor")
                assert entry.config.get("epochs", 1) == 1 and entry.config.get("top_k", 0) <= 1000
        timed = [bool(set(each.suite.evaluation.metrics or ()) & {"efficiency_ratio"}) for each in suites]
    # Timed cells load the fits that the cells before them have made.
    of_b = [flag for flag, each in zip(timed, suites, strict=True) if each.passes.backbone == "dinov2_vitb14"]
    assert of_b == sorted(of_b) and of_b[-1]


def test_methods_that_need_a_token_per_unit_get_them() -> None:
    archetypal = [kind for kind in KINDS.cells if kind.representative.method == "archetypal_sae"]
    for kind in archetypal:
        layer = layer_of_job(kind.representative)
        units = 1024 * 8 if layer.d_out == 1024 else None
        images = probing_images(SHARE, [kind], layer)
        assert images * layer.tokens >= (units or layer.d_out * 4) and images >= SHARE.probing
    assert probing_images(SHARE, [], layer_of_job(archetypal[0].representative)) == 2


def test_the_choice_has_each_method_and_backbone_and_accounts_for_all_kinds() -> None:
    unavailable = {next(kind.key for kind in KINDS.cells if "UMAP" in kind.title): "umap-learn: not installed"}
    choice = choose(KINDS, unavailable, SHARE, RATES, "cpu", 600.0)
    chosen = {kind.key for kind in choice.kinds}
    keys = {kind.key for kind in KINDS.cells}
    assert (chosen & keys) | set(choice.stand_ins) | set(choice.left_out) == keys
    assert not chosen & set(choice.stand_ins) and set(choice.left_out) == set(unavailable)
    assert set(choice.stand_ins.values()) <= chosen
    assert {pass_key(kind.sized) for kind in choice.kinds} == {each.key for each in KINDS.passes}
    methods = {kind.representative.method for kind in KINDS.cells}
    assert methods == {kind.representative.method for kind in choice.kinds}
    by_key = {kind.key: kind for kind in KINDS.cells}
    for key, other in choice.stand_ins.items():
        assert by_key[key].representative.metrics == by_key[other].representative.metrics
    # With more time more kinds are rehearsed themselves, and at last all of them.
    everything = choose(KINDS, unavailable, SHARE, RATES, "cpu", 1e6)
    assert len(everything.kinds) == len(KINDS.cells) + len(KINDS.carriers) - 1 > len(choice.kinds)
    assert not everything.stand_ins


def test_the_first_share_grows_with_the_speed_of_the_device_and_the_second_with_the_time_left() -> None:
    fast = Rates({name: rate._replace(value=1000 * rate.value) for name, rate in RATES.measured.items()})
    slow_share, fast_share = (first_share(KINDS, rates, "cpu", 1500.0) for rates in (RATES, fast))
    assert slow_share.evaluated == 4 and fast_share.evaluated > 8 and fast_share.instances > slow_share.instances
    kinds = choose(KINDS, {}, SHARE, RATES, "cpu", 600.0).kinds
    first_s = seconds_of(KINDS.passes, kinds, SHARE, RATES, "cpu")
    assert first_s < seconds_of_both(KINDS.passes, kinds, SHARE, RATES, "cpu")

    def second(left_s: float) -> Share:
        return second_share(SHARE, KINDS.passes, kinds, RATES, "cpu", measured_s=first_s, left_s=left_s)

    assert second(1e9).evaluated == 4 * SHARE.evaluated
    assert second(0.0).evaluated < second(1e9).evaluated and second(0.0).evaluated > SHARE.evaluated


def test_a_reduced_job_is_the_cell_that_runs() -> None:
    kind = next(kind for kind in KINDS.cells if kind.representative.method == "elude")
    job = reduced_job(kind.representative, SHARE, 24)
    assert job.n_tokens == 24 * 257 and job.evaluated == 3 and job.config.top_k == 1000 and job.full_fit  # type: ignore[attr-defined]


def test_units_are_matched_between_two_seeds_of_a_method_without_training() -> None:
    rehearsed = stability_suite("paper", KINDS.passes, KINDS.cells, SHARE)
    assert rehearsed is not None and rehearsed.is_stability
    [target] = rehearsed.suite.targets
    assert target.backbone == "dinov2_vitb14" and rehearsed.suite.seeds.init == (1, 2)
    assert [(entry.name, entry.config) for entry in target.methods or ()] == [
        ("random_dictionary", {"expansion_factor": 8})
    ]
