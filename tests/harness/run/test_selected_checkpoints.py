"""A sweep chooses for each network by itself, also where two have the same names of backbone and layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from harness import backbones
from harness.judging import cells_in_store, evaluation_images
from harness.run.parts import run_suite
from harness.run.selection import selected_in_store, sweep_suites, with_selections
from harness.suites import Suite, parse_suite
from harness.suites.grids import grid
from methods import METHODS
from methods.base import make_config
from results import CellRecord, ScoreRecord, open_store

GRID = grid("topk_sae", "few")
SITE = "blocks.0.mlp.fc2"


def suite_of(folder: Path, *checkpoints: str) -> Suite:
    return parse_suite(
        {
            "name": "two",
            "data": {"dataset": f"folder:{folder}", "evaluation": 12},
            "probing": {"tokens_per_image": 8},
            "evaluation": {"top_images": 4, "metrics": ["r2", "l0"]},
            "sweep": {"grid": "few"},
            "targets": [
                {"backbone": "timm:test_vit", "site": SITE, "checkpoint": file, "head": "probe"} for file in checkpoints
            ],
            "methods": [
                {
                    "name": "topk_sae",
                    "select": True,
                    "config": {"expansion_factor": 1, "k": 4, "epochs": 1, "batch_size": 64},
                }
            ],
        }
    )


def test_each_checkpoint_gets_the_configuration_of_its_own_sweep(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "a.safetensors", "b.safetensors")
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    sweeps = sweep_suites(suite)
    ids: list[list[str]] = []
    # On the first network the first learning rate is the better one, on the second the other.
    for network, (sweep, shares) in enumerate(zip(sweeps, ((0.9, 0.1), (0.1, 0.9)), strict=True)):
        assert sweep is not None and [target.checkpoint for target in sweep.targets] == [f"{'ab'[network]}.safetensors"]
        own = []
        for number, (point, share) in enumerate(zip(GRID, shares, strict=True)):
            config = make_config(METHODS.get("topk_sae"), {**suite.methods[0].config, **point}).model_dump(mode="json")
            cell = CellRecord(
                cell_id=f"{network}{number}", status="finished", backbone="timm:test_vit", site=SITE,
                method="topk_sae", config=config, evaluation_fingerprint=f"network {network}",
                token_seed=42, init_seed=42,
            )  # fmt: skip
            store.record(cell, [ScoreRecord(metric="r2", value=share), ScoreRecord(metric="l0", value=4.0)])
            own.append(cell.cell_id)
        ids.append(own)
    selected, notes = with_selections(suite, store.path, ids)
    assert selected is not None and len(notes) == 2
    chosen = [target.methods[0].config["learning_rate"] for target in selected.targets if target.methods]
    assert chosen == [GRID[0]["learning_rate"], GRID[1]["learning_rate"]]


@pytest.mark.slow
def test_networks_of_a_local_hub_are_found_again_by_selection_and_judges(tmp_path: Path, photo_folder: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "hubconf.py").write_text(
        "import timm\n\ndef vit(pretrained=False):\n"
        "    return timm.create_model('test_vit', num_classes=0, img_size=224)\n"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_vit", num_classes=0, img_size=224)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    suite = suite_of(photo_folder, str(tmp_path / "w.safetensors"))
    spec = f"torchhub:{clone}:vit"
    suite = suite.model_copy(update={"targets": (suite.targets[0].model_copy(update={"backbone": spec}),)})
    assert backbones.name_of(spec) == "torchhub:clone:vit" == backbones.load(spec, weights=False).name
    assert backbones.name_of("timm:test_vit") == "timm:test_vit" and backbones.name_of("tiny_vit") == "tiny_vit"
    path = tmp_path / "r.duckdb"
    total = run_suite(suite, path, device="cpu")
    [part] = total.parts
    assert (total.finished, total.kept, len(part.cell_ids)) == (2, 1, 1)
    store, images = open_store(path), evaluation_images(suite)
    ready = selected_in_store(suite, store, path, images)
    assert cells_in_store(store, ready, images) == part.cell_ids
