"""Checkpoints of ViT-Prisma against the codes and reconstructions that ViT-Prisma itself computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from original_dictionaries import assert_as_expected, assert_as_the_original, cases, copied, expected
from safetensors.torch import save_file

from methods import pretrained
from methods.errors import UserError
from methods.torch_files import Record, load_torch

CHECKPOINT = "n_images_100.pt"
RECORDS = ("vit_prisma.sae.config.VisionModelSAERunnerConfig",)


@pytest.mark.parametrize("name", cases("prisma"))
def test_codes_and_reconstructions_are_those_of_prisma(name: str, tmp_path: Path) -> None:
    sae = assert_as_the_original("prisma", name, tmp_path)
    assert sae.source is not None
    assert (sae.source.site, sae.source.backbone) == ("blocks.9.hook_resid_post", "a_model")


@pytest.mark.parametrize("name", [name for name in cases("prisma") if name != "weights_and_config"])
def test_a_checkpoint_alone_has_its_configuration(name: str, tmp_path: Path) -> None:
    file = (copied("prisma", name, tmp_path) / CHECKPOINT).rename(tmp_path / "any_name.pt")
    sae = pretrained.load(file)
    assert_as_expected(sae, expected("prisma", name))
    assert sae.source is not None and sae.source.format == "prisma"


def test_the_configuration_is_read_as_values_and_not_as_an_object_of_its_class() -> None:
    from original_dictionaries import DICTIONARIES

    content = load_torch(DICTIONARIES / "prisma" / "topk" / CHECKPOINT, records=RECORDS)
    assert type(content["cfg"]) is Record and content["cfg"].activation_fn_kwargs == {"k": 3}
    with pytest.raises(UserError, match="running what a pickle carries is refused"):
        load_torch(DICTIONARIES / "prisma" / "topk" / CHECKPOINT)


def test_weights_may_be_safetensors_beside_the_configuration(tmp_path: Path) -> None:
    folder = copied("prisma", "weights_and_config", tmp_path)
    save_file(load_torch(folder / "weights.pt"), folder / "weights.safetensors")
    (folder / "weights.pt").unlink()
    assert_as_expected(pretrained.load(folder), expected("prisma", "weights_and_config"))


def changed(tmp_path: Path, name: str = "weights_and_config", drop: str = "", **changes: Any) -> Path:
    """Return a folder of weights with a changed configuration."""
    folder = copied("prisma", name, tmp_path)
    config = {key: value for key, value in json.loads((folder / "config.json").read_text()).items() if key != drop}
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"architecture": "jumprelu"},
            "its architecture is 'jumprelu' and its activation 'relu', and standard with relu",
        ),
        ({"activation_fn_str": "tanh-relu"}, "and its activation 'tanh-relu', and standard with relu"),
        (
            {"architecture": "gated", "activation_fn_str": "topk"},
            "its architecture is 'gated' and its activation 'topk'",
        ),
        ({"architecture": "gated"}, "its tensor r_mag is missing"),
        ({"activation_fn_str": "topk"}, "its k is 'None', and must be a positive whole number"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 25}}, "topk keeps k = 25 units per token"),
        (
            {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3, "postact_fn": "x"}},
            "another function than ReLU",
        ),
        (
            {"normalize_activations": "expected_average_only_in"},
            "its normalisation 'expected_average_only_in' is none of",
        ),
        ({"is_transcoder": True}, "it is a transcoder, which reads one layer and writes another"),
        ({"hook_point_head_index": 3}, "it reads one head of an attention"),
    ],
)
def test_what_is_not_computed_is_refused_in_one_sentence(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as weights of the format prisma: ") as refused:
        pretrained.load(changed(tmp_path, **changes))
    assert reason in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_a_configuration_without_the_normalisation_needs_it(tmp_path: Path) -> None:
    folder = changed(tmp_path, drop="normalize_activations")
    with pytest.raises(UserError, match="does not say how tokens were normalised: give it as a setting, one of none"):
        pretrained.load(folder)
    assert_as_expected(pretrained.load(folder, normalize_activations="none"), expected("prisma", "weights_and_config"))
    with pytest.raises(UserError, match="its configuration says normalize_activations already"):
        pretrained.load(copied("prisma", "topk", tmp_path), normalize_activations="none")


def test_weights_without_a_configuration_need_their_folder(tmp_path: Path) -> None:
    folder = copied("prisma", "weights_and_config", tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"its configuration is missing: give a folder with weights\.pt and its config"):
        pretrained.load(folder, format="prisma")


def test_a_folder_of_several_checkpoints_is_refused(tmp_path: Path) -> None:
    folder = copied("prisma", "topk", tmp_path)
    torch.save({}, folder / "n_images_200.pt")
    with pytest.raises(UserError, match="is one pickled file, or a folder with one file of weights and config"):
        pretrained.load(folder, format="prisma")


def test_a_pickle_of_other_classes_is_refused_without_running_it(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    torch.save({"cfg": Path("VisionModelSAERunnerConfig"), "state_dict": {"W_enc": torch.zeros(2)}}, file)
    with pytest.raises(UserError, match="running what a pickle carries is refused"):
        pretrained.load(file)


@pytest.mark.parametrize("content", [[], {"state_dict": []}, {"cfg": {}, "state_dict": {}}])
def test_another_content_is_refused(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    torch.save(content, file)
    with pytest.raises(UserError, match=r"holds no state_dict|its configuration is missing"):
        pretrained.load(file, format="prisma")
    with pytest.raises(UserError, match="is of no known format of weights"):
        pretrained.load(file)
