"""Trained transcoders as rows of a run: they read the input of a linear layer, and need one of their widths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_runs import suite_of

from harness import backbones, datasets
from harness.errors import UserError
from harness.run import run
from harness.suites import Suite, parse_suite
from methods import pretrained
from results import open_store

pytestmark = pytest.mark.run

LAYER = "blocks.1.mlp.fc2"


def transcoder(folder: Path, d_in: int, d_out: int, **metadata: str) -> Path:
    """Write a skip transcoder of SAELens with random weights."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (d_in, 30), "b_enc": (30,), "W_dec": (30, d_out), "b_dec": (d_out,), "W_skip": (d_out, d_in)}
    tensors = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"architecture": "skip_transcoder", "d_in": d_in, "d_sae": 30, "d_out": d_out, "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def with_weights(photo_folder: Path, weights: Path, site: str, **target: Any) -> Suite:
    common = {"seeds": {"tokens": [1]}, "targets": [{"backbone": "tiny_vit", "site": site, **target}]}
    suite = suite_of(photo_folder, "identity", **common)
    entry = {"name": "pretrained_sae", "label": "mine", "config": {"weights": str(weights)}}
    return parse_suite({**suite.model_dump(), "methods": [*suite.model_dump()["methods"], entry]})


def test_the_scores_are_those_of_the_layer_s_input(photo_folder: Path, tmp_path: Path) -> None:
    backbone = backbones.load("tiny_vit")
    layer = backbone.model.get_submodule(LAYER)
    weights = transcoder(tmp_path / "weights", layer.in_features, layer.out_features, hook_name="blocks.0.mlp.act")
    store = tmp_path / "r.duckdb"
    summary = run(with_weights(photo_folder, weights, LAYER), store)
    assert (summary.finished, summary.failed) == (2, 0), open_store(store).cells()["error_message"].tolist()
    opened = open_store(store)
    values = opened.scores().set_index(["label", "metric"])["value"]["mine"]
    captured: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: captured.append((inputs[0], output)))
    split = datasets.load(f"folder:{photo_folder}").split(evaluation=18)
    with torch.inference_mode():
        backbone.features(torch.stack([backbone.preprocessing.center(split.evaluation.open(i)) for i in range(18)]))
    hook.remove()
    q, a = (rows.flatten(0, 1).double() for rows in captured[0])
    sae = pretrained.load(weights)
    r2 = 1 - ((a - sae.reconstruct(sae.encode(q), q)) ** 2).sum(0) / ((a - a.mean(0)) ** 2).sum(0)
    assert values["r2"] == pytest.approx(float(r2.mean()), rel=1e-4)
    assert values["l0"] == pytest.approx(float((sae.encode(q) != 0).double().sum(1).mean()), rel=1e-3)
    cell = opened.cells().set_index("label").loc["mine"]
    assert cell["method"] == "pretrained_sae" and cell["n_units"] == 30


def test_an_output_site_and_other_widths_are_refused_before_the_run(photo_folder: Path, tmp_path: Path) -> None:
    weights, store = transcoder(tmp_path / "weights", 24, 24), tmp_path / "r.duckdb"
    with pytest.raises(UserError, match=r"^mine needs the input .* 'blocks\.1' .* such as blocks\.1\.mlp\.fc2,"):
        run(with_weights(photo_folder, weights, "blocks.1"), store)
    expected = rf"^mine is a transcoder from 24 to 24 features, and '{LAYER}' of tiny ViT has \d+ inputs and 24 outputs"
    with pytest.raises(UserError, match=expected):
        run(with_weights(photo_folder, weights, LAYER), store)
    assert not store.exists()
    for site in ("blocks.1", LAYER):
        summary = run(with_weights(photo_folder, weights, site, skip_unsuitable=True), store)
        assert (summary.finished, summary.failed) == (1, 0)


def test_a_transcoder_of_several_layers_is_refused_before_the_run(photo_folder: Path, tmp_path: Path) -> None:
    names = {"hook_name": "blocks.1.ln2.hook_normalized", "hook_name_out": "blocks.1.hook_mlp_out"}
    weights = transcoder(tmp_path / "weights", 24, 24, **names)
    with pytest.raises(UserError, match="which are not the input and the output of one linear layer"):
        run(with_weights(photo_folder, weights, LAYER), tmp_path / "r.duckdb")
    assert not (tmp_path / "r.duckdb").exists()
