"""Folders of VISAEBench against the codes and reconstructions that VISAEBench itself computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from original_dictionaries import assert_as_expected, assert_as_the_original, cases, copied, expected
from safetensors.torch import load_file, save_file

from methods import pretrained
from methods.errors import UserError
from methods.torch_files import load_torch


@pytest.mark.parametrize("name", cases("visaebench"))
def test_codes_and_reconstructions_are_those_of_visaebench(name: str, tmp_path: Path) -> None:
    assert_as_the_original("visaebench", name, tmp_path)


def test_backbone_and_layer_of_its_training_are_read(tmp_path: Path) -> None:
    source = pretrained.load(copied("visaebench", "batchtopk_of_overcomplete", tmp_path)).source
    assert source is not None and (source.site, source.backbone) == ("blocks.11", "dinov2_vitb14")


def test_codes_equal_to_the_threshold_of_batchtopk_are_kept(tmp_path: Path) -> None:
    folder = copied("visaebench", "batchtopk", tmp_path)
    state = load_file(folder / "model.safetensors")
    state["encoder.weight"] = torch.eye(12).repeat(2, 1)
    state["encoder.bias"] = torch.zeros(24)
    save_file(state, folder / "model.safetensors")
    sae = pretrained.load(folder)
    limit = torch.tensor(1.5)
    below = limit.nextafter(torch.tensor(0.0))
    codes = sae.encode(torch.tensor([[1.5, float(below), *[0.0] * 10]]))
    assert codes[0, 0] == 1.5 and codes[0, 1] == 0


@pytest.mark.parametrize("name", ["norm_stats.pt", "stats.json"])
def test_statistics_in_the_folder_are_applied_to_the_activations(name: str, tmp_path: Path) -> None:
    folder = copied("visaebench", "topk", tmp_path)
    values = expected("visaebench", "topk")
    assert any("the folder has no statistics" in note for note in pretrained.load(folder).notes)
    mean, std = torch.randn(12), 2.5
    if name.endswith("json"):
        (folder / name).write_text(json.dumps({"mean": mean.tolist(), "std": std}))
    else:
        torch.save({"mean": mean, "std": std}, folder / name)
    sae = pretrained.load(folder)
    assert not any("no statistics" in note for note in sae.notes)
    codes = sae.encode(values["x"] * std + mean)
    torch.testing.assert_close(codes, values["codes"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.decode(codes), values["output"] * std + mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "holds no mean"),
        ({"mean": [[1.0]], "std": 1.0}, "has the shape"),
        ({"mean": ["a"] * 12, "std": 1.0}, "holds no mean"),
        ({"mean": [0.0] * 12}, "std in its stats.json is 'None', and must be a number"),
        ({"mean": [0.0] * 12, "std": 0}, "the std in its stats.json is 0.0, and must be a positive number"),
        ({"mean": [float("nan")] * 12, "std": 1}, "contains NaN or infinity"),
    ],
)
def test_wrong_statistics_are_refused(content: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = copied("visaebench", "topk", tmp_path)
    (folder / "stats.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason):
        pretrained.load(folder)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"activation": "gelu"}, "its activation 'gelu' is none of topk, batchtopk, jumprelu"),
        ({}, "its k is 'None', and must be a positive whole number"),
        ({"activation": "topk", "k": 2.5}, "its k is '2.5', and must be a positive whole number"),
        ({"activation": "topk", "k": 25}, "topk keeps k = 25 units per token, and there are 24"),
        ({"activation": "batchtopk", "threshold": "high"}, "the threshold is 'high', and must be a number"),
        ({"activation": ["topk"]}, "is none of topk, batchtopk, jumprelu"),
    ],
)
def test_what_is_not_computed_is_refused_in_one_sentence(config: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = copied("visaebench", "topk", tmp_path)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot be read as weights of the format visaebench: ") as refused:
        pretrained.load(folder, format="visaebench")
    assert reason in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize("content", ["[1]", "a: [", "a: !!python/object:os.system {}", "x" * 100_000])
def test_a_damaged_yaml_configuration_is_refused(content: str, tmp_path: Path) -> None:
    folder = copied("visaebench", "batchtopk_of_overcomplete", tmp_path)
    (folder / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"its config\.yaml cannot be read"):
        pretrained.load(folder, format="visaebench")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoder.weight": None}, "has neither the tensors encoder.weight, encoder.bias"),
        ({"decoder.bias": torch.zeros(5)}, r"its decoder\.bias has the shape \(5,\), not \(12,\)"),
        ({"decoder.weight": torch.zeros(23, 12)}, "its encoder has 24 units and its decoder 23"),
        ({"encoder.bias": Path("x")}, "running what a pickle carries is refused"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = copied("visaebench", "topk", tmp_path)
    state = {**load_torch(folder / "sae.pt"), **change}
    torch.save({name: value for name, value in state.items() if value is not None}, folder / "sae.pt")
    with pytest.raises(UserError, match=reason):
        pretrained.load(folder, format="visaebench")


def test_a_file_alone_needs_its_folder(tmp_path: Path) -> None:
    file = copied("visaebench", "topk", tmp_path) / "sae.pt"
    with pytest.raises(UserError, match=r"a dictionary of VISAEBench is a folder with one of sae\.pt, model"):
        pretrained.load(file, format="visaebench")


def test_weights_of_a_transformer_are_not_taken_for_a_dictionary(tmp_path: Path) -> None:
    folder = copied("visaebench", "batchtopk", tmp_path)
    (folder / "config.json").write_text(json.dumps({"architectures": ["ViTModel"], "hidden_act": "gelu"}))
    with pytest.raises(UserError, match="is of no known format of weights"):
        pretrained.load(folder)
    assert_as_expected(
        pretrained.load(copied("visaebench", "batchtopk", tmp_path / "again")), expected("visaebench", "batchtopk")
    )
