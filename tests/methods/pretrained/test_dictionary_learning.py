"""Checkpoints of dictionary_learning against the codes and reconstructions that it computed itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from original_dictionaries import assert_as_the_original
from paths import FIXTURES
from safetensors.torch import load_file
from torch import Tensor

from methods import pretrained
from methods.errors import UserError
from methods.pretrained.source import Source
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.dictionary_learning import _LAYOUTS

ROOT = FIXTURES / "dictionaries"
CASES = sorted(path.name for path in (ROOT / "dictionary_learning").iterdir())


def case(name: str) -> Path:
    return ROOT / "dictionary_learning" / name


def _folder(name: str, tmp_path: Path) -> Path:
    """Return a copy of a case without the expected values, which the package does not write."""
    folder = tmp_path / name
    shutil.copytree(case(name), folder, ignore=shutil.ignore_patterns("expected*"))
    return folder


def _with_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _with_tensors(folder: Path, **changes: Tensor | None) -> Path:
    """Replace tensors (dots in their names are double underscores here); None removes one."""
    tensors = torch.load(folder / "ae.pt", weights_only=True)
    for name, tensor in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if tensor is not None:
            tensors[name.replace("__", ".")] = tensor
    torch.save(tensors, folder / "ae.pt")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_codes_and_reconstructions_are_those_of_the_package(name: str, tmp_path: Path) -> None:
    assert assert_as_the_original("dictionary_learning", name, tmp_path).n_units == 24


def test_the_cases_cover_every_class_that_is_read() -> None:
    configs = [json.loads((case(name) / "config.json").read_text()) for name in CASES]
    assert {config["trainer"]["dict_class"] for config in configs} == set(_LAYOUTS)


@pytest.mark.parametrize("name", CASES)
def test_only_this_format_recognises_them(name: str, tmp_path: Path) -> None:
    source = Source(_folder(name, tmp_path))
    assert [entry.name for entry in FORMATS if entry.load()().recognises(source)] == ["dictionary_learning"]


def test_site_and_backbone_are_those_of_the_configuration(tmp_path: Path) -> None:
    loaded = pretrained.load(_folder("topk", tmp_path)).source
    assert loaded is not None and (loaded.site, loaded.backbone) == ("blocks.10.hook_resid_post", "a_model")

    def layer_only(config: dict[str, Any]) -> None:
        config["trainer"]["submodule_name"] = None

    loaded = pretrained.load(_with_config(_folder("gated", tmp_path), layer_only)).source
    assert loaded is not None and loaded.site == "10"


def test_a_threshold_that_was_never_estimated_is_noted(tmp_path: Path) -> None:
    assert any("never estimated" in note for note in pretrained.load(_folder("batchtopk_short", tmp_path)).notes)
    assert not any("never estimated" in note for note in pretrained.load(_folder("batchtopk", tmp_path)).notes)


@pytest.mark.parametrize("name", CASES)
def test_the_file_alone_is_read_if_its_tensors_say_its_class(name: str, tmp_path: Path) -> None:
    expected = load_file(case(name) / "expected.safetensors")
    file = _folder(name, tmp_path) / "ae.pt"
    shutil.move(file, file.with_name("ae_60.pt"))
    settings = {}
    if name in ("topk", "batchtopk", "batchtopk_short"):
        with pytest.raises(UserError, match="its tensors are those of AutoEncoderTopK and BatchTopKSAE: give the"):
            pretrained.load(file.with_name("ae_60.pt"))
        settings = {"dict_class": "AutoEncoderTopK" if name == "topk" else "BatchTopKSAE"}
    sae = pretrained.load(file.with_name("ae_60.pt"), **settings)
    torch.testing.assert_close(sae.encode(expected["x"]), expected["codes"], rtol=1e-5, atol=1e-5)


def test_a_topk_checkpoint_of_an_earlier_version_has_no_threshold(tmp_path: Path) -> None:
    expected = load_file(case("topk") / "expected.safetensors")
    sae = pretrained.load(_with_tensors(_folder("topk", tmp_path), threshold=None))
    torch.testing.assert_close(sae.encode(expected["x"]), expected["codes"], rtol=1e-5, atol=1e-5)


def test_a_dead_atom_of_length_0_stays_a_unit_without_effect(tmp_path: Path) -> None:
    folder = _folder("april_update", tmp_path)
    decoder = torch.load(folder / "ae.pt", weights_only=True)["decoder.weight"]
    decoder[:, 3] = 0
    sae = pretrained.load(_with_tensors(folder, decoder__weight=decoder))
    atoms = sae.dictionary().atoms
    assert float(atoms[3].norm()) == 0
    torch.testing.assert_close(atoms.norm(dim=1).sum(), torch.tensor(23.0))


def _refusal(path: Path, **settings: str) -> str:
    with pytest.raises(UserError) as refused:
        pretrained.load(path, format="dictionary_learning", **settings)
    text = str(refused.value)
    assert "cannot be read as weights of the format dictionary_learning" in text and "\n" not in text
    assert len(text) < 600
    return text


@pytest.mark.parametrize(
    ("trainer", "buffer", "reason"),
    [
        ({"dict_class": "CrossCoder"}, None, "its class 'CrossCoder' is none of those that are computed: AutoEncoder,"),
        ({"dict_class": ["AutoEncoder"]}, None, "is none of those that are computed"),
        ({"dict_class": "GatedAutoEncoder"}, None, "its tensor decoder_bias is missing, which the class Gated"),
        ({"dict_class": "AutoEncoder"}, None, "its tensor bias is missing"),
        ({"k": 4}, None, "its tensor k is 3, and its config.json says 4"),
        ({}, {"io": "in_and_out"}, "it is a transcoder"),
    ],
)
def test_what_is_not_computed_is_refused_in_one_sentence(
    trainer: dict[str, Any], buffer: dict[str, Any] | None, reason: str, tmp_path: Path
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["trainer"].update(trainer)
        config["buffer"] = buffer

    assert reason in _refusal(_with_config(_folder("topk", tmp_path), change))


def test_weights_of_the_input_of_a_module_are_noted(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["buffer"] = {"io": "in"}

    notes = pretrained.load(_with_config(_folder("topk", tmp_path), change)).notes
    assert any("trained on the input of" in note for note in notes)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"k": torch.tensor(25)}, "its tensor k is 25, and its config.json says 3"),
        ({"k": torch.tensor([3, 3])}, r"its tensor k has the shape (2,), and it must be one number"),
        ({"k": None}, "its tensor k is missing"),
        ({"pre_bias": torch.zeros(12)}, "it has a tensor 'pre_bias', and the class AutoEncoderTopK has none of this"),
        ({"encoder__bias": torch.zeros(5)}, "its encoder bias has the shape (5,)"),
        ({"encoder__weight": torch.zeros(24)}, "its encoder has the shape (24,)"),
        ({"decoder__weight": torch.zeros(12, 23)}, "its encoder has 24 units and its decoder 23"),
        ({"encoder__weight": torch.full((24, 12), float("nan"))}, "contains NaN or infinity"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensors: dict[str, Tensor | None], reason: str, tmp_path: Path) -> None:
    assert reason in _refusal(_with_tensors(_folder("topk", tmp_path), **tensors))


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "[" * 100_000])
def test_a_damaged_configuration_is_refused(content: str, tmp_path: Path) -> None:
    folder = _folder("standard", tmp_path)
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"dictionary_learning: its config\.json cannot be read"):
        pretrained.load(folder)


@pytest.mark.parametrize("content", ["{}", '{"trainer": []}', '{"trainer": {}}'])
def test_a_configuration_without_a_class_leaves_it_to_the_tensors(content: str, tmp_path: Path) -> None:
    folder = _folder("gated", tmp_path)
    (folder / "config.json").write_text(content)
    assert pretrained.load(folder).n_units == 24


def test_damaged_and_pickled_modules_are_refused(tmp_path: Path) -> None:
    folder = _folder("standard", tmp_path)
    (folder / "ae.pt").write_bytes((folder / "ae.pt").read_bytes()[:500])
    assert "cannot be read as a checkpoint" in _refusal(folder)
    torch.save(torch.nn.Linear(2, 2), folder / "ae.pt")
    assert "holds more than tensors" in _refusal(folder)
    torch.save({"steps": 3}, folder / "ae.pt")
    assert "it holds no state_dict" in _refusal(folder)


def test_a_class_that_is_said_wrongly_is_refused(tmp_path: Path) -> None:
    file = _folder("topk", tmp_path) / "ae.pt"
    assert "its class 'TopK' is none of those" in _refusal(file, dict_class="TopK")
