"""state_dicts of overcomplete's modules against the codes and reconstructions that it computed itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import FIXTURES
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from methods import pretrained
from methods.errors import UserError
from methods.pretrained.pretrained_sae import PretrainedSAE
from methods.pretrained.source import Source
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.overcomplete import _MODULES, _NORMALIZATIONS

ROOT = FIXTURES / "dictionaries"
CASES = sorted(path.name for path in (ROOT / "overcomplete").iterdir())
D_IN, UNITS = 12, 24


def weights(name: str) -> Path:
    """Return the file of a case."""
    return next((ROOT / "overcomplete" / name).glob("sae.*"))


def given(name: str) -> dict[str, Any]:
    """Return the settings of a case, which its user gives."""
    return json.loads((ROOT / "overcomplete" / name / "settings.json").read_text())


def loaded(name: str, **settings: Any) -> PretrainedSAE:
    return pretrained.load(weights(name), **{**given(name), **settings})


def expected(name: str) -> dict[str, Tensor]:
    return load_file(ROOT / "overcomplete" / name / "expected.safetensors")


@pytest.mark.parametrize("name", CASES)
def test_codes_and_reconstructions_are_those_of_overcomplete(name: str) -> None:
    values, sae = expected(name), loaded(name)
    codes = sae.encode(values["x"])
    torch.testing.assert_close(codes, values["codes"], rtol=1e-5, atol=1e-5)
    assert torch.equal(codes != 0, values["codes"] != 0) and 0 < float((codes != 0).float().mean()) < 1
    torch.testing.assert_close(sae.reconstruct(codes, values["x"]), values["output"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_they_are_the_same_after_saving_and_loading(name: str, tmp_path: Path) -> None:
    x, sae = expected(name)["x"], loaded(name)
    again = PretrainedSAE.load(sae.save(tmp_path / "saved.safetensors"))
    codes = sae.encode(x)
    assert torch.equal(again.encode(x), codes) and torch.equal(again.reconstruct(codes, x), sae.reconstruct(codes, x))
    assert again.notes == sae.notes and again.n_units == UNITS


def test_the_cases_cover_every_module_and_normalisation_that_is_read() -> None:
    noted = " ".join(note for name in CASES for note in loaded(name).notes)
    assert all(f"those of {module}." in noted for module in _MODULES)
    assert {given(name).get("normalization", "l2") for name in CASES} == set(_NORMALIZATIONS)


@pytest.mark.parametrize("name", CASES)
def test_only_this_format_recognises_them(name: str) -> None:
    source = Source(weights(name))
    assert [entry.name for entry in FORMATS if entry.load()().recognises(source)] == ["overcomplete"]


# ---- what a state_dict does not say


def _refusal(path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as refused:
        pretrained.load(path, **settings)
    text = str(refused.value)
    assert "cannot be read as weights" in text and "\n" not in text and len(text) < 600
    return text


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("topk", {}, "its tensors are those of SAE or TopKSAE or BatchTopKSAE: say which in the settings"),
        ("topk", {"module": "TopKSAE"}, "give k in the settings (its top_k, which is 2 if it was not set)"),
        ("topk", {"k": 0}, "the setting k is '0', and must be a positive whole number"),
        ("topk", {"k": True}, "the setting k is 'True'"),
        ("topk", {"k": 25}, "topk keeps k = 25 units per token, and there are 24"),
        (
            "topk",
            {"module": "SAE", "k": 3},
            "the settings say that it is a module SAE, and its tensors and settings are those of TopKSAE",
        ),
        ("topk", {"k": 3, "threshold": 1.0}, "a TopKSAE has no setting threshold"),
        ("topk", {"module": "TopSAE"}, "Did you mean"),
        ("batchtopk", {"module": "BatchTopKSAE"}, "give threshold in the settings, float(sae.running_threshold)"),
        ("batchtopk", {"threshold": "high"}, "the setting threshold is 'high', and must be a finite number"),
        ("batchtopk", {"threshold": math.inf}, "must be a finite number"),
        ("mp", {}, "its tensors are those of MpSAE or OMPSAE: say which in the settings"),
        ("mp", {"module": "MpSAE"}, "give k in the settings (its k, which is 1 if it was not set)"),
        ("mp", {"module": "OMPSAE"}, "it is a module OMPSAE, which is not computed"),
        ("ra_topk", {}, "give k in the settings"),
        ("ra_topk", {"k": 3, "delta": -1.0}, "delta is -1, and must not be negative"),
        ("ra_topk", {"k": 3, "normalization": "l2"}, "an archetypal dictionary is not normalised"),
        ("jump", {"k": 3}, "a JumpSAE has no setting k"),
        ("jump", {"delta": 1.0}, "delta is a setting of archetypal dictionaries"),
        ("jump", {"normalization": "l3"}, "overcomplete has no normalization 'l3'"),
        ("sae_l1", {"module": "SAE"}, "so the default normalization l2 was not used in training: give normalization"),
    ],
)
def test_missing_and_wrong_settings_are_named(name: str, settings: dict[str, Any], reason: str) -> None:
    assert reason in _refusal(weights(name), **settings)


def test_assumptions_are_noted() -> None:
    assert any("l2, the default of overcomplete" in note for note in loaded("topk").notes)
    assert not any("l2, the default" in note for note in loaded("topk", normalization="l2").notes)
    settings = {"k": 3}
    assert any("delta" in note for note in pretrained.load(weights("ra_topk"), **settings).notes)


def test_pursuit_may_be_encoded_in_parts_and_in_double_precision() -> None:
    x, sae = expected("mp")["x"], loaded("mp")
    parts = torch.cat([sae.encode(part) for part in x.split(7)])
    torch.testing.assert_close(parts, sae.encode(x))
    torch.testing.assert_close(sae.encode(x.double()).float(), parts, rtol=1e-5, atol=1e-5)


# ---- modules that are not computed


def _saved(module: nn.Module, folder: Path) -> Path:
    state = {name: value.clone().contiguous() for name, value in module.state_dict().items()}
    save_file(state, folder / "sae.safetensors")
    return folder / "sae.safetensors"


def _qsae() -> nn.Module:
    from overcomplete.sae import QSAE

    return QSAE(D_IN, UNITS)


def _sae(shape: Any, encoder: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from overcomplete.sae import SAE

        units = D_IN if encoder == "identity" else UNITS
        return SAE(shape, units, encoder_module=encoder)

    return build


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (_qsae, "it is a module QSAE, which is not computed: its codes are quantised"),
        (_sae(D_IN, "mlp_ln_1"), "it normalises the pre-activations of each token (LayerNorm)"),
        (_sae(D_IN, "mlp_ln_3"), "it has hidden layers"),
        (_sae(D_IN, "mlp_bn_3"), "it has hidden layers"),
        (_sae((5, D_IN), "attention_1b"), "it mixes the tokens of an image (attention)"),
        (_sae((D_IN, 4, 4), "resnet_1b"), "it mixes the positions of an image (3x3 convolutions)"),
        (_sae(D_IN, "identity"), "its tensors and settings are those of MpSAE or OMPSAE"),
    ],
)
def test_modules_and_encoders_that_are_not_computed_are_refused(
    build: Callable[[], nn.Module], reason: str, tmp_path: Path
) -> None:
    assert reason in _refusal(_saved(build(), tmp_path), module="SAE", normalization="l2")


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(_sae(D_IN, "linear")(), tmp_path / "sae.pth")
    with pytest.raises(UserError, match=r"holds more than tensors .*save its state_dict"):
        pretrained.load(tmp_path / "sae.pth")


@pytest.mark.parametrize(
    ("name", "tensors", "reason"),
    [
        ("topk", {"dictionary.multiplier": torch.zeros(2)}, "its tensor dictionary.multiplier has the shape (2,)"),
        ("topk", {"dictionary._weights": torch.zeros(24)}, "its tensor dictionary._weights has the shape (24,)"),
        ("topk", {"dictionary._weights": torch.full((24, 12), math.nan)}, "contains NaN or infinity"),
        ("topk", {"dictionary._weights": torch.eye(23, 12)}, "lengths from 0 to 1"),
        ("topk", {"encoder.final_block.0.bias": torch.zeros(5)}, "its encoder bias has the shape (5,)"),
        ("topk", {"pre_bias": torch.zeros(12)}, "its tensor 'pre_bias' is none of overcomplete's"),
        ("jump", {"thresholds": torch.zeros(3)}, "the tensor 'threshold' has the shape (3,)"),
        ("ra_topk", {"dictionary.W": torch.zeros(24, 7)}, "do not fit together"),
        (
            "sae_batch_norm",
            {"encoder.final_block.1.running_var": torch.ones(3)},
            "a tensor of its batch normalisation has the shape (3,), and it must be (24,)",
        ),
        ("sae_batch_norm", {"encoder.final_block.1.running_var": None}, "running_var is missing"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    name: str, tensors: dict[str, Tensor | None], reason: str, tmp_path: Path
) -> None:
    state = {**Source(weights(name)).state(), **tensors}
    save_file({key: value for key, value in state.items() if value is not None}, tmp_path / "sae.safetensors")
    assert reason in _refusal(tmp_path / "sae.safetensors", **given(name))


def test_a_dictionary_alone_is_refused(tmp_path: Path) -> None:
    save_file({"_weights": torch.zeros(24, 12), "multiplier": torch.zeros(())}, tmp_path / "sae.safetensors")
    with pytest.raises(UserError, match=r"is of no known format of weights: its tensors are _weights, multiplier"):
        pretrained.load(tmp_path / "sae.safetensors")
    with pytest.raises(UserError, match="save the state_dict of the whole module"):
        pretrained.load(tmp_path / "sae.safetensors", format="overcomplete")
