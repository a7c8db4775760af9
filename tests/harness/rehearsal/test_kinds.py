"""Kinds of a plan: every cell of the shipped suites in exactly one, and alike in what their time depends on."""

from __future__ import annotations

import pytest

from harness.doctor.steps import units_of
from harness.doctor.workload import Workload, workload_of
from harness.rehearsal.kinds import Kinds, kinds_of, layer_of_job, pass_key, sized_of
from harness.suites import load_suite


def plan(name: str) -> tuple[Workload, Kinds]:
    workload = workload_of(load_suite(name))
    return workload, kinds_of(workload)


@pytest.mark.parametrize("name", ["paper", "table2", "table5", "table7", "efficiency", "demo"])
def test_each_cell_is_in_exactly_one_kind(name: str) -> None:
    workload, kinds = plan(name)
    jobs = [job for kind in kinds.cells for job in kind.jobs]
    assert len({id(job) for job in jobs}) == len(jobs)
    assert {id(job) for job in jobs} == {id(job) for job in (*workload.final, *workload.swept)}
    assert sum(kind.fits for kind in kinds.cells) == sum(job.full_fit for job in (*workload.final, *workload.swept))
    assert all(not kind.jobs for kind in kinds.carriers) and not kinds.unknown


def test_cells_of_a_kind_have_one_method_shape_units_and_metrics() -> None:
    _, kinds = plan("paper")
    for kind in kinds.cells:
        for job in kind.jobs:
            layer, of_kind = layer_of_job(job), layer_of_job(kind.representative)
            assert (job.method, layer.d_in, layer.d_out) == (kind.representative.method, of_kind.d_in, of_kind.d_out)
            assert units_of(job, layer) == units_of(kind.representative, of_kind)
            assert set(job.metrics or ()) == set(kind.representative.metrics or ())
            assert job.runs_network == kind.representative.runs_network
    assert len({kind.key for kind in kinds.cells}) == len(kinds.cells)


def test_seeds_swept_values_and_sizes_make_no_kind_of_their_own_but_options_do() -> None:
    _, kinds = plan("table7")
    titles = [kind.title.split(",")[0] + kind.title.split(",")[1] for kind in kinds.cells]
    # Seven rows differ in cluster sizes; the options eom and UMAP, and the random split, are other code.
    assert len(kinds.cells) == 4, titles
    largest = max(kinds.cells, key=lambda kind: len(kind.jobs))
    assert len(largest.jobs) == 7 * 3


def test_passes_are_of_each_backbone_once_and_each_is_rehearsed_by_some_cell() -> None:
    _, kinds = plan("paper")
    assert sorted(each.backbone for each in kinds.passes) == [
        *("augreg_vit_base", "convnextv2_base", "dinov2_vitb14", "dinov2_vitl14", "dinov2_vits14", "siglip2_base"),
    ]
    on = {pass_key(sized_of(kind.representative)) for kind in (*kinds.cells, *kinds.carriers)}
    assert on == {each.key for each in kinds.passes}
    of_b = next(each for each in kinds.passes if each.backbone == "dinov2_vitb14")
    assert {sized.target.site for sized in of_b.targets} == {f"blocks.{block}.mlp.fc2" for block in (9, 10, 11)}
    assert of_b.representative.target.site == "blocks.11.mlp.fc2"
