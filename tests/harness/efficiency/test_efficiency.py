"""Efficiency in a network: what runs is what the method says, compiled or not; a whole run, and the table of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_networks import PATHS, D, T, images_of, split_of, topk
from torch import Tensor, nn
from typer.testing import CliRunner

from harness import backbones
from harness.activations.linear_site import LinearLayerSite
from harness.cells.plan import cells_of, prepare
from harness.cli import app
from harness.efficiency.cost import backbone_macs
from harness.efficiency.integration import check_reached, integrated, modes_of
from harness.efficiency.measure import measure
from harness.efficiency.protocol import CPU, Protocol
from harness.errors import UserError
from harness.metrics.base import METRICS
from harness.run import run
from harness.suites import Suite, parse_suite
from results import CellRecord, open_store
from results.reports.efficiency import Way, tables

pytestmark = pytest.mark.run

# ---- in the network


@pytest.mark.parametrize("name", PATHS)
def test_the_network_with_a_method_computes_what_the_method_says(name: str) -> None:
    backbone, path = backbones.load(name), PATHS[name]
    layer, images = backbone.model.get_submodule(path), images_of()
    before = backbone.features(images)
    method = split_of(backbone, path)
    for mode in modes_of(method):
        with integrated(backbone, path, method, mode) as changed:
            torch.testing.assert_close(changed(images), before, rtol=1e-4, atol=1e-4)
            if mode == "":
                assert torch.equal(changed(images), before)
    # Something that does change the output, against a hook on the original.
    sae = topk(40, layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features)  # type: ignore[arg-type]
    site = LinearLayerSite(backbone.model, path, n_prefix_tokens=0)
    expected = site.replace(
        backbone.features, images, lambda q, a: sae.decode(sae.encode(a.flatten(0, 1))).unflatten(0, a.shape[:2])
    )
    with integrated(backbone, path, sae, "") as changed:
        torch.testing.assert_close(changed(images), expected)
    assert not torch.allclose(expected, before, rtol=1e-2)
    # The original is as it was.
    assert backbone.model.get_submodule(path) is layer and torch.equal(backbone.features(images), before)


def test_the_copy_shares_the_weights() -> None:
    backbone = backbones.load("tiny_vit")
    method, images = split_of(backbone, PATHS["tiny_vit"]), images_of()
    with integrated(backbone, PATHS["tiny_vit"], method, "") as changed, torch.no_grad():
        backbone.model.get_parameter("norm.weight").mul_(3)
        assert torch.equal(changed(images), backbone.features(images))


def test_a_layer_that_a_copy_does_not_call_is_said() -> None:
    backbone = backbones.load("tiny_cnn")
    with pytest.raises(UserError, match="0 times"):
        # The features end before the classifier.
        check_reached(backbone, "fc", images_of())


@pytest.mark.slow
def test_a_failing_compiler_is_a_note_and_the_other_figures_stand() -> None:
    def broken(step: object) -> object:
        raise RuntimeError("no compiler here\nand a long story")

    backbone = backbones.load("tiny_vit")
    method = split_of(backbone, PATHS["tiny_vit"])
    protocol = Protocol(batch_size=2, warmup=1, repeats=2, compiled=True, memory_passes=1)
    found = measure(method, backbone, PATHS["tiny_vit"], images_of(), protocol, compiler=broken)  # type: ignore[arg-type]
    assert [(m.mode, m.compiled) for m in found.modes] == [(mode, False) for mode in modes_of(method)]
    assert found.notes[0] == "torch.compile failed: RuntimeError: no compiler here" and len(found.notes) == 3
    assert all(len(m.times.reference) == len(m.times.variant) == 2 for m in found.modes)


def test_chosen_modes_alone_are_measured() -> None:
    backbone = backbones.load("tiny_vit")
    method = split_of(backbone, PATHS["tiny_vit"])
    protocol = Protocol(batch_size=2, warmup=0, repeats=1, compiled=False, memory_passes=1)
    measurement = measure(
        method, backbone, PATHS["tiny_vit"], images_of(), protocol, modes=("materialised", "no such mode")
    )
    assert [mode.mode for mode in measurement.modes] == ["materialised"]


def test_compiled_networks_are_timed_beside_the_others() -> None:
    compiled: list[object] = []

    def compiler(step: object) -> object:
        compiled.append(step)
        return step

    backbone = backbones.load("tiny_cnn")
    protocol = Protocol(batch_size=2, warmup=0, repeats=2, compiled=True, memory_passes=1)
    found = measure(topk(20, 12), backbone, "mix", images_of(), protocol, compiler=compiler)  # type: ignore[arg-type]
    assert [(m.mode, m.compiled) for m in found.modes] == [("", False), ("", True)]
    assert len(compiled) == 2 and not found.notes


@pytest.mark.parametrize("name", ["tiny_vit", "tiny_cnn"])
@pytest.mark.slow
def test_what_runs_can_be_traced_by_the_compiler(name: str) -> None:
    """Dynamo and AOTAutograd are real; only the code generator is left out. Whole networks, without a break."""
    backbone, path = backbones.load(name), PATHS[name]
    layer, images = backbone.model.get_submodule(path), images_of()
    width = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    # So large a k that a processor, too, selects by torch.topk as a GPU does, and not by a kernel of ours.
    sae = topk(40, width, k=30)  # type: ignore[arg-type]
    made: list[tuple[Tensor, Tensor]] = []

    def compiler(step: Any) -> Any:
        compiled = torch.compile(step, dynamic=False, backend="aot_eager", fullgraph=True)
        made.append((compiled(images), step(images)))
        return compiled

    protocol = Protocol(batch_size=2, warmup=0, repeats=1, compiled=True, memory_passes=1)
    for method in (sae, split_of(backbone, path)):
        found = measure(method, backbone, path, images, protocol, compiler=compiler)
        assert not found.notes and {m.compiled for m in found.modes} == {False, True}
    # A reference and a changed network for each of the four ways to run.
    assert len(made) == 8
    for compiled, plain in made:
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)


# ---- the suite and the store


def suite_of(folder: Path, metrics: list[str] | None) -> Suite:
    return parse_suite(
        {
            "name": "costs",
            "data": {"dataset": f"folder:{folder}", "evaluation": 6},
            "probing": {"crops": 0, "tokens_per_image": 4},
            "evaluation": {"top_images": 2, **({"metrics": metrics} if metrics else {})},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": [
                {"name": "identity"},
                {"name": "random_split", "config": {"parts": 2}},
                {"name": "topk_sae", "config": {"expansion_factor": 2, "k": 4, "epochs": 1}},
            ],
        }
    )


def test_it_is_measured_only_where_a_suite_asks_for_it(photo_folder: Path) -> None:
    """A board of qualities is not slowed down by timings, and its cells keep their ids."""
    suite = suite_of(photo_folder, None)
    [metrics] = {cell.metrics for cell in cells_of(suite, prepare(suite, device="cpu"))}
    found = {metric.id for metric in metrics}
    assert "efficiency_ratio" in METRICS.names() and "efficiency_ratio" not in found
    assert {"r2", "ms_score"} <= found
    # What needs no timing is measured in every run.
    assert {"encode_macs", "parameters"} <= found
    assert not any(METRICS.get(name).timed for name in found)


def test_a_whole_run_records_what_a_row_needs(photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "results.duckdb"
    # `parameters` is a metric and a companion of efficiency_ratio: it is recorded once.
    summary = run(suite_of(photo_folder, ["efficiency_ratio", "parameters", "encode_macs"]), store)
    assert (summary.finished, summary.failed) == (3, 0)
    opened = open_store(store)
    # Of so few units and steps, some never fire.
    assert not any("active on no token" not in note for notes in opened.cells()["notes"] for note in notes)
    scores = opened.scores()
    names = {method: set(found["metric"]) for method, found in scores.groupby("method")}
    every = {"efficiency_ratio", "latency_ms", "throughput", "macs", "parameters"}
    assert every <= names["identity"] and every <= names["topk_sae"]
    for mode in ("materialised", "all_units"):
        assert {f"{name}_{mode}" for name in ("efficiency_ratio", "latency_ms", "macs")} <= names["random_split"]
    value = scores.set_index(["method", "metric"])["value"]
    assert (value[:, "efficiency_ratio"] > 0).all()
    layer, tokens = 4 * D * D, T
    whole = backbone_macs(backbones.load("tiny_vit")) / 1e9
    assert value["identity", "macs"] == value["random_split", "macs"] == pytest.approx(whole)
    extra = {
        ("topk_sae", "macs"): 2 * 2 * D * D,
        ("random_split", "macs_materialised"): 2 * layer - layer,
        ("random_split", "macs_all_units"): 2 * layer,
    }
    for key, per_token in extra.items():
        assert value[key] == pytest.approx(whole + tokens * per_token / 1e9)
    assert value["random_split", "parameters"] == pytest.approx((2 * layer + 2 * D) / 1e6)
    assert value["identity", "encode_macs"] == 0
    assert value["topk_sae", "encode_macs"] == pytest.approx(tokens * 2 * D * D / 1e9)
    assert value["random_split", "encode_macs"] == pytest.approx(tokens * 2 * layer / 1e9)
    details = scores.set_index(["method", "metric"])["details"]
    assert details["random_split", "encode_macs"]["network"] == details["identity", "encode_macs"]["network"] == 0
    assert details["topk_sae", "encode_macs"]["network"] == pytest.approx(value["topk_sae", "macs"] - whole)
    # One row for each way to run a method, the fastest first, with the products it follows from.
    shown = CliRunner().invoke(app, ["efficiency", "--store", str(store)])
    assert shown.exit_code == 0, shown.output
    lines = [line.split("  ")[0] for line in shown.output.splitlines()]
    assert lines.index("the network alone") < min(map(lines.index, ("backbone only", "TopK SAE", "random split")))
    found = json.loads(CliRunner().invoke(app, ["efficiency", "--store", str(store), "--json"]).output)
    assert sorted((way["label"], way["way"]) for way in found) == [
        ("TopK SAE", "encode and decode"),
        ("backbone only", "encode and decode"),
        ("random split", "all sub-units read"),
        ("random split", "sub-units summed"),
        ("random split", "unedited"),
    ]
    assert [way["ratio"] for way in found] == sorted(way["ratio"] for way in found)
    assert {way["n_pairs"] for way in found} == {CPU.repeats} and not any(way["compiled"] for way in found)
    by = {(way["label"], way["way"]): way for way in found}
    assert by["random split", "unedited"]["macs"] == by["random split", "unedited"]["backbone_macs"]
    assert by["TopK SAE", "encode and decode"]["conditions"]["batch_size"] == CPU.batch_size


def test_a_store_without_timings_says_how_to_make_them(tmp_path: Path) -> None:
    open_store(tmp_path / "r.duckdb", read_only=False).record(
        CellRecord(cell_id="c", status="finished", backbone="b", site="s", method="identity")
    )
    shown = CliRunner().invoke(app, ["efficiency", "--store", str(tmp_path / "r.duckdb")])
    assert shown.exit_code == 0 and "harness run --suite efficiency" in shown.output


def test_ways_that_share_no_conditions_stand_in_tables_of_their_own() -> None:
    one = Way("b", "s", {"threads": 1}, "m", "unedited", False, 1.0, 0.9, 1.1, 31, 10, 10, 5, 6, 2.0, 2.0, 0.1, "c")
    others = [one._replace(conditions={"threads": 2}), one._replace(compiled=True), one._replace(backbone="other")]
    assert len(tables([one, *others, one._replace(label="n")])) == 4
    [table] = tables([one, one._replace(ratio=1.2, low=None, memory_mb=None, backbone_memory_mb=None)])
    assert table.rows[0][:3] == ["the network alone", "", "1"] and table.rows[0][6] == "6"
    assert table.rows[2][2:4] == ["1.200", ""] and table.rows[2][6] == ""
