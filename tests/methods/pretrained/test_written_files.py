"""Files and folders that dictionaries are written to: their origin, paths, and formats without a writer."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from dictionary_cases import N_UNITS, dictionary_of, refusal_of
from safetensors import safe_open
from safetensors.torch import load_file

from methods import pretrained
from methods.pretrained.origins import hook_name, hook_names_of_layer, is_same_site, transcoded_layer

# ---- origin


def test_the_origin_is_in_the_files(tmp_path: Path) -> None:
    dictionary, provenance = dictionary_of("topk"), {"cell_id": "abc", "harness_version": "1", "k": "lie"}
    origin: dict[str, Any] = {"site": "blocks.10", "backbone": "dinov2", "provenance": provenance}
    file = pretrained.save(dictionary, tmp_path / "a.safetensors", **origin)
    with safe_open(str(file), framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata == {
        **{"cell_id": "abc", "harness_version": "1", "k": "3", "activation": "topk"},
        **{"apply_b_dec_to_input": "false", "site": "blocks.10", "backbone": "dinov2"},
    }
    folder = pretrained.save(dictionary, tmp_path / "sae", "saelens", **origin)
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    assert metadata == {
        **{"cell_id": "abc", "harness_version": "1", "k": "lie", "site": "blocks.10"},
        **{"hook_name": "blocks.10.hook_resid_post", "model_name": "dinov2"},
        # Without a version SAELens takes the folder for one of version 5 and drops these entries.
        **{"sae_lens_version": "6.54.12", "sae_lens_training_version": None},
    }
    for path in (file, folder):
        source = pretrained.load(path).source
        assert source is not None and is_same_site(str(source.site), "blocks.10") and source.backbone == "dinov2"


@pytest.mark.parametrize(
    ("path", "hook"),
    [
        ("blocks.10", "blocks.10.hook_resid_post"),
        ("blocks.9.mlp.fc2", "blocks.9.hook_mlp_out"),
        ("blocks.9.mlp.act", "blocks.9.mlp.hook_post"),
        ("blocks.9.attn.proj", "blocks.9.hook_attn_out"),
        ("blocks.9.norm1", "blocks.9.norm1"),
        ("stages.2.blocks.3", "stages.2.blocks.3"),
        ("layer4", "layer4"),
    ],
)
def test_a_site_has_the_name_that_readers_know(path: str, hook: str) -> None:
    assert hook_name(path) == hook and is_same_site(hook, path)
    assert transcoded_layer(*hook_names_of_layer(f"{path}.fc")) == f"{path}.fc"


def test_the_hooks_of_a_layer_lead_back_to_it() -> None:
    for path in ("blocks.9.mlp.fc2", "blocks.9.mlp.fc1", "blocks.9.attn.proj", "encoder.layers.3.mlp.fc2", "head"):
        assert transcoded_layer(*hook_names_of_layer(path)) == path
    assert hook_names_of_layer("blocks.9.mlp.fc2") == ("blocks.9.mlp.hook_post", "blocks.9.hook_mlp_out")


# ---- paths


def test_an_existing_file_or_folder_is_kept(tmp_path: Path) -> None:
    dictionary, other = dictionary_of("relu"), dictionary_of("relu", seed=1)
    file, folder = tmp_path / "a.safetensors", tmp_path / "sae"
    for path, format_name in ((file, "plain"), (folder, "saelens")):
        pretrained.save(dictionary, path, format_name)
        assert ("exists" if format_name == "plain" else "is not empty") in refusal_of(other, path, format_name)
        assert torch.equal(pretrained.load(path).atoms, dictionary.atoms)
        pretrained.save(other, path, format_name, overwrite=True)
        assert torch.equal(pretrained.load(path).atoms, other.atoms)
    (folder / "thesis.tex").write_text("mine")
    assert "has other files ('thesis.tex')" in refusal_of(dictionary, folder, "saelens", overwrite=True)
    assert torch.equal(load_file(folder / "sae_weights.safetensors")["W_dec"], other.atoms)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "sae"]


def test_paths_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    dictionary = dictionary_of("relu")
    (tmp_path / "file").touch()
    assert "ends in .safetensors, not 'sae'" in refusal_of(dictionary, tmp_path / "sae")
    assert "is a folder" in refusal_of(dictionary, tmp_path)
    assert "named as a file" in refusal_of(dictionary, tmp_path / "a.safetensors", "saelens")
    assert "is a file" in refusal_of(dictionary, tmp_path / "file", "saelens")
    assert "cannot be written" in refusal_of(dictionary, tmp_path / "file" / "a.safetensors")
    assert "cannot be written" in refusal_of(dictionary, tmp_path / f"{'a' * 300}.safetensors")
    assert "is one file of a folder of the format saelens" in refusal_of(
        dictionary, tmp_path / "sae_weights.safetensors"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_this_folder_can_be_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    pretrained.save(dictionary_of("relu"), ".", "saelens")
    assert pretrained.load(tmp_path / "here").n_units == N_UNITS


def test_missing_folders_are_made_and_permissions_are_those_of_new_files(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        file = pretrained.save(dictionary_of("relu"), tmp_path / "new" / "a.safetensors")
        folder = pretrained.save(dictionary_of("relu"), tmp_path / "new" / "sae", "saelens")
    finally:
        os.umask(umask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (file, *folder.iterdir())}
    assert modes == {0o644} and stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_formats_without_a_writer_are_named(tmp_path: Path) -> None:
    dictionary = dictionary_of("relu")
    assert pretrained.writable_formats() == ["plain", "saelens"]
    text = refusal_of(dictionary, tmp_path / "a.safetensors", "saev")
    assert text == "The format saev can be read, not written; formats that can be are plain, saelens."
    assert "what Method.save(PATH) writes" in refusal_of(dictionary, tmp_path / "a.safetensors", "harness")
    assert "There is no format 'sealens' of weights. Did you mean saelens?" in refusal_of(
        dictionary, tmp_path / "a.safetensors", "sealens"
    )
