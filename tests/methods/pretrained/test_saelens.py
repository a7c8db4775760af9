"""Folders of SAELens against the codes and reconstructions that SAELens itself computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from original_dictionaries import assert_as_the_original
from paths import FIXTURES
from safetensors.torch import load_file, save_file

from methods import pretrained
from methods.errors import UserError

CASES = sorted(path.name for path in (FIXTURES / "dictionaries" / "saelens").iterdir())
WEIGHTS = "sae_weights.safetensors"


def case(name: str) -> Path:
    return FIXTURES / "dictionaries" / "saelens" / name


@pytest.mark.parametrize("name", CASES)
def test_codes_and_reconstructions_are_those_of_saelens(name: str, tmp_path: Path) -> None:
    assert assert_as_the_original("saelens", name, tmp_path).n_units == 24


def test_the_cases_cover_every_architecture_that_is_read() -> None:
    from methods.pretrained.weight_formats.saelens import _READERS, _TOKEN_SCALES

    configs = [json.loads((case(name) / "cfg.json").read_text()) for name in CASES]
    assert {config["architecture"] for config in configs} == set(_READERS)
    assert {config["normalize_activations"] for config in configs} == set(_TOKEN_SCALES)


def _folder(name: str, tmp_path: Path) -> Path:
    """Return a copy of a case without the expected values, which SAELens does not write."""
    folder = tmp_path / name
    shutil.copytree(case(name), folder, ignore=shutil.ignore_patterns("expected*"))
    return folder


def _changed(tmp_path: Path, name: str = "standard", **changes: Any) -> Path:
    folder = _folder(name, tmp_path)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_a_configuration_of_version_3_to_5_is_read(tmp_path: Path) -> None:
    expected = load_file(case("topk") / "expected.safetensors")
    folder = _folder("topk", tmp_path)
    old = {
        "architecture": "standard",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "hook_name": "blocks.10.hook_resid_post",
        "model_name": "a_model",
        "normalize_activations": False,
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
    }
    (folder / "cfg.json").write_text(json.dumps(old))
    sae = pretrained.load(folder)
    torch.testing.assert_close(sae.encode(expected["x"]), expected["codes"], rtol=1e-5, atol=1e-5)
    assert sae.source is not None and (sae.source.site, sae.source.backbone) == ("blocks.10.hook_resid_post", "a_model")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "temporal"}, "its architecture 'temporal' is not computed."),
        ({"architecture": ["standard"]}, "its architecture \"['standard']\" is not computed"),
        ({"architecture": "jumprelu_transcode"}, "Did you mean jumprelu_transcoder"),
        ({"normalize_activations": "expected_average_only_in"}, "whose statistics the folder lacks"),
        ({"normalize_activations": "other"}, "its normalisation 'other' is none of none, constant_norm_rescale"),
        ({"reshape_activations": "hook_z"}, "it reads the heads of an attention"),
        ({"apply_b_dec_to_input": "yes"}, "its apply_b_dec_to_input is 'yes', and must be true or false"),
        ({"architecture": "topk"}, "its k is 'None', and must be a positive whole number"),
        ({"architecture": "topk", "k": 25}, "topk keeps k = 25 units per token, and there are 24"),
        ({"architecture": "topk", "k": float("inf")}, "must be a positive whole number"),
        ({"architecture": "jumprelu"}, "its tensor threshold is missing"),
        ({"activation_fn": "tanh"}, "its activation 'tanh' is none of relu, identity, topk"),
    ],
)
def test_what_is_not_computed_is_refused_in_one_sentence(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        pretrained.load(_changed(tmp_path, **changes))
    text = str(refused.value)
    assert reason in text and "cannot be read as weights of the format saelens" in text and "\n" not in text
    assert len(text) < 600


@pytest.mark.parametrize("content", ["", "[]", "{", '{"architecture": "standard"', "null", "[" * 100_000])
def test_a_damaged_configuration_is_refused(content: str, tmp_path: Path) -> None:
    folder = _folder("standard", tmp_path)
    (folder / "cfg.json").write_text(content)
    with pytest.raises(UserError, match=r"its cfg\.json cannot be read"):
        pretrained.load(folder)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"b_enc": torch.zeros(5)}, "its encoder bias has the shape"),
        ({"W_dec": torch.zeros(24, 12, 2)}, "is no matrix"),
        ({"W_dec": torch.zeros(23, 12)}, "its encoder has 24 units and its decoder 23"),
        ({"W_enc": torch.full((12, 24), float("nan"))}, "contains NaN or infinity"),
        ({"b_dec": torch.zeros(12, dtype=torch.int64)}, ""),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensors: dict[str, torch.Tensor], reason: str, tmp_path: Path) -> None:
    folder = _folder("standard", tmp_path)
    save_file({**load_file(folder / WEIGHTS), **tensors}, folder / WEIGHTS)
    if not reason:
        assert pretrained.load(folder).n_units == 24
        return
    with pytest.raises(UserError, match=reason):
        pretrained.load(folder)


def test_a_file_without_its_folder_is_named_as_such(tmp_path: Path) -> None:
    folder = _folder("gated", tmp_path)
    for name in ("gated", "topk", "standard"):
        path = (folder if name == "gated" else _folder(name, tmp_path)) / WEIGHTS
        with pytest.raises(UserError, match="is one file of a folder of the format saelens"):
            pretrained.load(path)
        # Alone it would look like plain weights with another activation.
        alone = tmp_path / name / "alone" / WEIGHTS
        alone.parent.mkdir()
        shutil.copy(path, alone)
        with pytest.raises(UserError, match="is one file of a folder of the format saelens"):
            pretrained.load(alone)
    with pytest.raises(UserError, match="a dictionary of SAELens is a folder"):
        pretrained.load(folder / WEIGHTS, format="saelens")


def test_the_sparsity_that_saelens_saves_beside_the_weights_is_left_out(tmp_path: Path) -> None:
    folder, values = _folder("topk", tmp_path), load_file(case("topk") / "expected.safetensors")
    save_file({"sparsity": torch.zeros(24)}, folder / "sparsity.safetensors")
    torch.testing.assert_close(pretrained.load(folder).encode(values["x"]), values["codes"], rtol=1e-5, atol=1e-5)
