"""The scorer ``clip``: probabilities of the two-tower model, and labels from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import backbones, datasets
from harness.errors import UserError
from harness.steering.scorers.base import Images
from harness.steering.scorers.clip import Clip

pytest.importorskip("transformers", reason="a CLIP model needs the package transformers")

from tiny_towers import save_clip, save_siglip

CONCEPTS = ("blue", "red", "a fox in the snow")


@pytest.fixture(scope="module", params=[save_clip, save_siglip], ids=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param.__name__)
    torch.manual_seed(0)
    request.param(path)
    (path / "concepts.txt").write_text("\n".join(CONCEPTS))
    return path


def scorer(folder: Path, **settings: Any) -> Clip:
    return Clip({"model": f"hf:{folder}", "concepts": str(folder / "concepts.txt"), **settings})


def cosines(folder: Path, pixels: torch.Tensor, texts: list[str]) -> torch.Tensor:
    """Cosines of transformers' own forward pass."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    siglip = model.config.model_type == "siglip"
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 16} if siglip else {"padding": True}
    tokens = tokenizer(texts, return_tensors="pt", **padding)
    names = ("input_ids",) if siglip else ("input_ids", "attention_mask")
    with torch.inference_mode():
        out = model(pixel_values=pixels, **{name: tokens[name] for name in names})
    unit = torch.nn.functional.normalize
    return unit(out.image_embeds, dim=1) @ unit(out.text_embeds, dim=1).T


def test_probabilities_are_the_softmax_of_ten_cosines(folder: Path, photo_folder: Path) -> None:
    images = datasets.load(f"folder:{photo_folder}")
    readable = np.asarray([0, 3, 20, 47])
    concepts, probabilities = scorer(folder, template="a photo of a {}.").probabilities(
        Images(images, readable, "cpu"), lambda *state: None
    )
    backbone = backbones.load(f"hf:{folder}")
    pixels = torch.stack([backbone.preprocessing.center(images.open(index)) for index in readable.tolist()])
    expected = cosines(folder, pixels, [f"a photo of a {concept}." for concept in CONCEPTS])
    assert concepts == CONCEPTS
    torch.testing.assert_close(probabilities, torch.softmax(10 * expected, 1), rtol=1e-4, atol=1e-5)


def test_the_identity_is_that_of_model_concepts_and_settings(folder: Path, photo_folder: Path, tmp_path: Path) -> None:
    images = datasets.load(f"folder:{photo_folder}")
    first = scorer(folder).identity(images)
    assert first == scorer(folder).identity(images)
    assert first != scorer(folder, template="a {}").identity(images)
    (tmp_path / "other.txt").write_text("blue\nred\n")
    other = scorer(folder, concepts=str(tmp_path / "other.txt")).identity(images)
    assert first["concepts"] != other["concepts"] and first["text_tower"] == other["text_tower"]
    (tmp_path / "same.txt").write_text("\n".join(CONCEPTS))
    assert scorer(folder, concepts=str(tmp_path / "same.txt")).identity(images)["concepts"] == first["concepts"]
    assert str(folder.parent) not in str(first)


def test_scores_are_of_every_unit_and_concept(folder: Path, photo_folder: Path) -> None:
    images = datasets.load(f"folder:{photo_folder}")
    activations = torch.rand(48, 5, generator=torch.Generator().manual_seed(0))
    activations[:, 2] = 0
    scored = scorer(folder, draws=20).score(activations, Images(images, np.arange(48), "cpu"))
    assert scored.concepts == CONCEPTS and scored.scores.shape == (5, 3) and scored.null.shape == (20, 5)
    assert bool(torch.isneginf(scored.scores[2]).all()) and bool(scored.null[:, 2].isnan().all())


def test_a_missing_list_is_named(folder: Path, photo_folder: Path) -> None:
    with pytest.raises(UserError, match="There is no list of concepts"):
        scorer(folder, concepts="no_such_list").identity(datasets.load(f"folder:{photo_folder}"))
