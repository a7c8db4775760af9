"""Folders of sae-for-vlm against the codes and reconstructions that its copy of dictionary_learning computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from original_dictionaries import DICTIONARIES, assert_as_expected, assert_as_the_original, cases, copied, expected

from methods import pretrained
from methods.errors import UserError


@pytest.mark.parametrize("name", cases("sae_for_vlm"))
def test_codes_and_reconstructions_are_those_of_sae_for_vlm(name: str, tmp_path: Path) -> None:
    sae = assert_as_the_original("sae_for_vlm", name, tmp_path)
    assert sae.source is not None and sae.source.site is None and sae.source.backbone is None
    assert any("neither the model nor the layer" in note for note in sae.notes)


def test_the_cases_are_the_models_of_its_training_script() -> None:
    configs = [
        json.loads((DICTIONARIES / "sae_for_vlm" / name / "config.json").read_text()) for name in cases("sae_for_vlm")
    ]
    assert {config["trainer"]["dict_class"] for config in configs} == {
        "MatroyshkaBatchTopKSAE",
        "BatchTopKSAE",
        "AutoEncoderTopK",
        "JumpReluAutoEncoder",
        "AutoEncoder",
    }


def test_a_matryoshka_autoencoder_is_read_from_its_file_alone(tmp_path: Path) -> None:
    file = copied("sae_for_vlm", "matroyshka_batch_top_k", tmp_path) / "ae.pt"
    sae = pretrained.load(file)
    assert_as_expected(sae, expected("sae_for_vlm", "matroyshka_batch_top_k"))
    assert sae.source is not None and sae.source.format == "dictionary_learning"


def test_a_model_and_layer_that_are_named_are_kept(tmp_path: Path) -> None:
    folder = copied("sae_for_vlm", "matroyshka_batch_top_k", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["trainer"] |= {"lm_name": "a_model", "layer": 11}
    (folder / "config.json").write_text(json.dumps(config))
    sae = pretrained.load(folder)
    assert sae.source is not None and sae.source.format == "sae_for_vlm"
    assert (sae.source.site, sae.source.backbone) == ("11", "a_model")
    assert not any("neither the model nor the layer" in note for note in sae.notes)


@pytest.mark.parametrize("config", [{}, {"trainer": []}, {"trainer": {"dict_class": 3}}])
def test_a_folder_without_a_class_is_refused(config: dict[str, object], tmp_path: Path) -> None:
    folder = copied("sae_for_vlm", "batch_top_k", tmp_path)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"is a folder with ae\.pt and the config\.json of its training"):
        pretrained.load(folder, format="sae_for_vlm")


def test_a_class_that_is_not_computed_is_refused(tmp_path: Path) -> None:
    folder = copied("sae_for_vlm", "batch_top_k", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["trainer"]["dict_class"] = "AnotherSAE"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="its class 'AnotherSAE' is none of those that are computed"):
        pretrained.load(folder)
