"""Zero-shot heads: the two-tower model's own logits, prompts, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_towers import SIDE, WIDTH, save_clip, save_siglip
from torch import Tensor

from harness import backbones, datasets
from harness.activations.heads.zero_shot import ZeroShot
from harness.activations.zero_shot_prompts import class_names_of, templates_of
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.executors.local import Local
from harness.identity import seed_of
from harness.progress import Silent
from harness.run.gpu_release import release_gpus


@pytest.fixture(scope="module", params=[save_clip, save_siglip], ids=["clip", "siglip"])
def folder(request, tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp(request.param.__name__)
    torch.manual_seed(0)
    request.param(path)
    return path


@pytest.fixture
def images(photo_folder):
    return datasets.load(f"folder:{photo_folder}")


def model_logits(folder: Path, pixels: Tensor, texts: list[str]) -> Tensor:
    """Logits per image of transformers' own forward pass."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    siglip = model.config.model_type == "siglip"
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 16} if siglip else {"padding": True}
    tokens = tokenizer([text.lower() if siglip else text for text in texts], return_tensors="pt", **padding)
    names = ("input_ids",) if siglip else ("input_ids", "attention_mask")
    with torch.inference_mode():
        return model(pixel_values=pixels, **{name: tokens[name] for name in names}).logits_per_image


def test_logits_are_the_models_own(folder, images, tmp_path):
    backbone = backbones.load(f"hf:{folder}")
    kind = ZeroShot(backbone, images, images.name, {})
    kind.check()
    head = kind.make(tmp_path)
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    texts = [prompts[0] for prompts in kind.prompts.values()]
    assert texts[0] == ("This is a photo of blue." if "siglip" in folder.name else "a photo of a blue.")
    with torch.inference_mode():
        logits = head.logits(head.features(pixels))
    torch.testing.assert_close(logits, model_logits(folder, pixels, texts), rtol=1e-4, atol=1e-4)
    assert head.predicts_labels and head.targets(torch.tensor([2, -1])).tolist() == [2, -1]


def test_a_class_of_several_prompts_is_their_normalised_mean(folder, images, tmp_path):
    backbone = backbones.load(f"hf:{folder}")
    templates = ["a photo of a {}.", "{}"]
    head = ZeroShot(backbone, images, images.name, {"templates": templates}).make(tmp_path)
    tower = backbone.text_tower()
    for label, text in zip(images.classes, head.text, strict=True):
        rows = torch.nn.functional.normalize(tower.embed([template.replace("{}", label) for template in templates]))
        expected = torch.nn.functional.normalize(rows.mean(0), dim=0)
        torch.testing.assert_close(text, expected, rtol=1e-4, atol=1e-5)


def test_embeddings_are_kept_and_a_damaged_file_is_made_again(folder, images, tmp_path):
    backbone = backbones.load(f"hf:{folder}")
    first = ZeroShot(backbone, images, images.name, {}).make(tmp_path)
    [file] = (tmp_path / "heads").iterdir()
    tower = backbone.text_tower()
    never = type(tower)(**{**vars(tower), "embed": None})
    backbone.text_tower = lambda: never
    again = ZeroShot(backbone, images, images.name, {}).make(tmp_path)
    assert torch.equal(first.text, again.text) and first.fingerprint() == again.fingerprint()
    file.write_bytes(b"damaged")
    backbone.text_tower = lambda: tower
    assert torch.equal(ZeroShot(backbone, images, images.name, {}).make(tmp_path).text, first.text)


def test_a_released_head_keeps_no_text_tower(folder, images, tmp_path):
    backbone = backbones.load(f"hf:{folder}")
    kind = ZeroShot(backbone, images, images.name, {})
    kind.make(tmp_path)
    identity, tower = kind.identity(), weakref.ref(backbone.text_tower().embed.args[0])
    assert tower() is not None
    release_gpus([SimpleNamespace(head=kind, backbone=backbone)], Local(), Silent())
    assert tower() is None and kind.identity() == identity


def test_the_identity_follows_prompts_and_text_weights(folder, images):
    backbone = backbones.load(f"hf:{folder}")

    def identity(**settings: object) -> dict[str, Any]:
        return ZeroShot(backbone, images, images.name, settings).identity()

    plain = identity()
    assert plain == identity() and plain["kind"] == "zero_shot"
    assert plain["prompts"] != identity(templates="{}")["prompts"]
    assert plain["prompts"] != identity(class_names=["a", "b", "c"])["prompts"]
    tower = backbone.text_tower()
    name = next(iter(tower.weights))
    changed = {**tower.weights, name: tower.weights[name] + 1}
    backbone.text_tower = lambda: type(tower)(**{**vars(tower), "weights": changed})
    assert identity()["text"] != plain["text"]


def test_a_backbone_without_a_text_tower_is_refused(images):
    backbone = dataclasses.replace(backbones.load("tiny_vit"), pretrained=True)
    with pytest.raises(UserError, match="tiny_vit has no text tower, so it cannot classify zero-shot"):
        ZeroShot(backbone, images, images.name, {}).check()


def test_random_weights_have_a_random_head(images, tmp_path):
    kind = ZeroShot(backbones.load("tiny_vit"), images, images.name, {})
    assert kind.make(tmp_path / "a").fingerprint() == kind.make(tmp_path / "b").fingerprint()


def test_classes_that_the_tokenizer_cannot_tell_apart_are_refused(folder, images, tmp_path):
    backbone = backbones.load(f"hf:{folder}")
    tower = backbone.text_tower()
    blind = type(tower)(**{**vars(tower), "embed": lambda texts: torch.ones(len(texts), WIDTH)})
    backbone.text_tower = lambda: blind
    with pytest.raises(UserError, match="the same embedding for the classes 'blue' and 'green'"):
        ZeroShot(backbone, images, images.name, {}).make(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(folder, images, tmp_path):
    for file in folder.iterdir():
        if not file.name.startswith(("tokenizer", "vocab", "merges", "special_tokens")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    backbone = backbones.load(f"hf:{tmp_path}")
    with pytest.raises(UserError, match=r"The tokenizer of 'hf:.*', which zero-shot"):
        ZeroShot(backbone, images, images.name, {}).check()


def test_all_of_imagenet_has_the_published_names(folder, tmp_path):
    """Two pairs of the published names are equal, as in published accuracies: they must not be refused."""
    from timm.data import ImageNetInfo

    ids = ImageNetInfo("imagenet-1k").label_names()
    imagenet = ImageSet.labelled("imagenet", [(f"{name}/0.png", tmp_path / name, name) for name in ids])
    backbone = backbones.load(f"hf:{folder}")
    tower = backbone.text_tower()

    def embed(texts: Sequence[str]) -> Tensor:
        generators = (torch.Generator().manual_seed(seed_of(text)) for text in texts)
        return torch.stack([torch.randn(WIDTH, generator=generator) for generator in generators])

    backbone.text_tower = lambda: dataclasses.replace(tower, embed=embed, tokenize=None)
    kind = ZeroShot(backbone, imagenet, "imagenet", {"class_names": "openai", "templates": ["{}", "a {}"]})
    kind.check()
    text = kind.make(tmp_path).text
    assert len(text) == 1000 and len(torch.unique(text, dim=0)) == 998
    assert "(missile; sunglasses)" in kind.notes()[1]
    with pytest.raises(UserError, match=r'have the same name .*"openai" for classes of ImageNet-1k'):
        ZeroShot(backbone, imagenet, "imagenet", {}).check()


def test_a_prompt_that_would_be_cut_off_is_refused(folder, images):
    names = ["blue", "red", "fox in the snow " * 12]
    with pytest.raises(UserError, match=r"The prompt '.*' has \d+ tokens, and the text tower of hf:.* reads \d+"):
        ZeroShot(backbones.load(f"hf:{folder}"), images, images.name, {"class_names": names}).check()


def test_the_identity_contains_the_tokens(folder, images):
    """Another tokenizer gives the same prompts and weights other embeddings."""
    backbone = backbones.load(f"hf:{folder}")
    first = ZeroShot(backbone, images, images.name, {}).identity()
    tower = backbone.text_tower()
    other = dataclasses.replace(tower, tokenize=lambda texts: [[*ids[:-1], 0] for ids in tower.tokenize(texts)])
    backbone.text_tower = lambda: other
    second = ZeroShot(backbone, images, images.name, {}).identity()
    assert first.pop("tokens") != second.pop("tokens") and first == second


def test_a_tokenizer_may_have_fewer_tokens_than_the_tower_but_not_others(images, tmp_path):
    for n_embeddings in (500, 4):
        (tmp_path / str(n_embeddings)).mkdir()
        save_siglip(tmp_path / str(n_embeddings), n_embeddings)
    ZeroShot(backbones.load(f"hf:{tmp_path / '500'}"), images, images.name, {}).check()
    with pytest.raises(UserError, match=r"is not that of its text tower: it gives the token \d+, and .* has 4"):
        ZeroShot(backbones.load(f"hf:{tmp_path / '4'}"), images, images.name, {}).check()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"templates": [3]}, "a template or a list of templates"),
        ({"templates": ["{}", "{}"]}, "a template is listed twice"),
        ({"class_names": 3}, "a list, a table"),
        ({"class_names": ["a", "b", 3]}, "the name 3, which is no text"),
        ({"class_names": ["n01440764 tench", "b", "c"]}, "contains a WordNet id"),
        ({"class_names": "openai"}, "and the images have others"),
        ({"templates": "a photo"}, "must contain {} once"),
        ({"templates": []}, "at least one template"),
        ({"template": "{}"}, "has no setting 'template'. Did you mean templates"),
        ({"class_names": ["a", "b"]}, "has 2 names, and the images have 3 classes"),
        ({"class_names": ["a", "b", "A"]}, "have the same name 'A'"),
        ({"class_names": {"blue": "a"}}, "no name for the class"),
        ({"class_names": "missing.json"}, "no file that can be read"),
        ({"class_names": ["a", " ", "b"]}, "has an empty name"),
    ],
)
def test_wrong_settings_are_refused(folder, images, settings, sentence):
    backbone = backbones.load(f"hf:{folder}")
    with pytest.raises(UserError, match=sentence.replace("{", "[{]").replace("}", "[}]")):
        ZeroShot(backbone, images, images.name, settings).check()


def test_the_doctor_asks_for_open_clips_lists(monkeypatch):
    assert ZeroShot.needs("siglip2_base", {}) == []
    [need] = ZeroShot.needs("siglip2_base", {"templates": "openai"})
    assert need.local
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [need] = ZeroShot.needs("siglip2_base", {"class_names": "openai"})
    assert not need.local and "[clip]" in need.remedy


class TestPrompts:
    def test_class_names_become_words(self):
        assert class_names_of("images", ["polar_bear", "red-fox"]) == ("polar bear", "red fox")
        assert class_names_of("images", ["n01440764", "n01443537"]) == ("tench", "goldfish")

    @pytest.mark.parametrize(
        ("classes", "names"),
        [
            (["n02085620-Chihuahua", "n01443537_x"], ("Chihuahua", "goldfish")),
            (["n01440764", "dog"], ("tench", "dog")),
            (["n01440764", "n00007846"], ("tench", "person")),  # of ImageNet-21k
            (["tench, Tinca tinca", "goldfish, Carassius auratus"], ("tench", "goldfish")),
            (["001.Black_footed_Albatross", "002.Laysan_Albatross"], ("Black footed Albatross", "Laysan Albatross")),
            (["747-400 freighter", "glider"], ("747 400 freighter", "glider")),
        ],
    )
    def test_ids_numbers_and_synonyms_are_not_prompted(self, classes, names):
        assert class_names_of("images", classes) == names

    @pytest.mark.parametrize("classes", [["0", "1"], ["n00000001", "n00000002"], ["707-320", "747-400"]])
    def test_numbers_and_unknown_ids_are_refused_as_names(self, classes):
        with pytest.raises(UserError, match="in words"):
            class_names_of("images", classes)

    def test_openais_lists_are_open_clips(self):
        assert len(templates_of("openai", "")) == 80 and all("{}" in text for text in templates_of("openai", ""))
        assert class_names_of("openai", ["n01443537", "n02012849"]) == ("goldfish", "crane bird")

    def test_names_come_from_a_file(self, tmp_path):
        file = tmp_path / "names.json"
        file.write_text(json.dumps({"0": "cat", "1": "dog"}))
        assert class_names_of(str(file), ["0", "1"]) == ("cat", "dog")
        lines = tmp_path / "names.txt"
        lines.write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n\r\n")
        assert class_names_of(str(lines), ["0", "1"]) == ("cat", "dog")
        lines.write_bytes("Stra\xdfe\ncat".encode("latin-1"))
        with pytest.raises(UserError, match="not valid UTF-8"):
            class_names_of(str(lines), ["0", "1"])
        file.write_text("{")
        with pytest.raises(UserError, match="not valid JSON"):
            class_names_of(str(file), ["0", "1"])
