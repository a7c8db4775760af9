"""Captions of a tiny LLaVA-OneVision with an edited tower: the identity, the touched tokens, twins, and refusals."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

import harness
import methods
from harness.activations.interventions import intervened
from harness.activations.site import Site
from harness.errors import UserError
from harness.steering.caption_run import caption_images
from harness.steering.captions import (
    BASELINE,
    Captioned,
    CaptionModel,
    Setting,
    caption_settings,
    captions_table,
)
from harness.steering.steered import SteerSettings
from harness.steering.steered_captions import steer_captions, title_of
from methods.base import Method
from methods.disentangled import DisentangledLinear
from results import open_store
from results.export import figure
from results.store import Store
from results.store.labels import LabellingRecord, record_labels
from results.store.steerings import steerings

pytest.importorskip("transformers", reason="captions need the package transformers")
pytestmark = [pytest.mark.run, pytest.mark.usefixtures("no_network")]

SITE, BLOCK = "encoder.layers.1.mlp.fc2", "encoder.layers.2"
#: Edits that change many tokens by much.
STRONG = Setting("strong", amplify=(0, 5), suppress=(9,), alpha=40.0, gamma=-60.0, patches=3)
WEAK = Setting("weak", amplify=(2,), alpha=3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_llava

    return tiny_llava.write(tmp_path_factory.mktemp("vlm") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> CaptionModel:
    return CaptionModel.load(str(folder), max_new_tokens=8)


@pytest.fixture(scope="module")
def image() -> Image.Image:
    """Wider than high, so that it is cut into crops; not uniform, so that the tokens differ."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class Fits(dict[str, str]):
    """Label of a fit to the id of its cell."""

    store: Store


@pytest.fixture(scope="module")
def fits(folder: Path, photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Fits:
    """A split and a dictionary, fitted on the tower's tokens by the harness at both sites."""
    path = tmp_path_factory.mktemp("store") / "r.duckdb"
    chosen = {
        "split": methods.create("random_split", parts=2),
        "dictionary": methods.create("topk_sae", expansion_factor=2, k=4, epochs=1, batch_size=64),
    }
    images = {"dataset": f"folder:{photo_folder}", "evaluation": 6}
    fits = Fits()
    for site, items in ((SITE, chosen), (BLOCK, {"block": chosen["dictionary"]})):
        frame = harness.evaluate(
            items, backbone=f"vlm:{folder}", site=site, metrics=["r2"], store=path, progress=False, **images
        )
        assert set(frame["backbone"]) == {"vlm:tiny"}
        fits |= dict(zip(frame["label"], frame["cell_id"], strict=True))
    fits.store = open_store(path)
    return fits


@pytest.fixture(scope="module")
def fitted(fits: Fits) -> Callable[[str], Method]:
    cells = fits.store.cells().set_index("cell_id")
    return lambda label: methods.load(fits.store.path.parent / str(cells.loc[fits[label], "artifact"]))


CASES = [("split", SITE), ("dictionary", SITE), ("block", BLOCK)]


def edited(model: CaptionModel, site: Site, method: Method, setting: Setting, image: Image.Image) -> Tensor:
    def tap(q: Tensor, a: Tensor) -> Tensor:
        return intervened(method, setting.edit(), q, a, site.positions(a.shape[1])).output

    with model.tapped(site, tap):
        return model.features(image)


@contextmanager
def read_by_the_network(site: Site) -> Iterator[list[Tensor]]:
    """Collect what modules after the site are given, by a hook of torch alone."""
    outputs: list[Tensor] = []
    handle = site.module.register_forward_hook(lambda module, inputs, output: outputs.append(output.clone()))
    try:
        yield outputs
    finally:
        handle.remove()


@pytest.mark.parametrize(("label", "path"), CASES)
def test_an_empty_edit_and_factors_of_one_change_no_bit(
    label: str, path: str, model: CaptionModel, image: Image.Image, fitted: Callable[[str], Method]
) -> None:
    method, site = fitted(label), model.open_site(path)
    plain = model.features(image)
    neutral = Setting("neutral", amplify=(0, 3), suppress=(1,), alpha=1.0, gamma=1.0)
    nowhere = STRONG._replace(name="nowhere", patches=0)
    for setting in (Setting("empty"), neutral, nowhere):
        assert torch.equal(edited(model, site, method, setting, image), plain)
    rows = caption_settings(model, site, method, image, [Setting("empty"), neutral, nowhere, STRONG])
    assert len({row.caption for row in rows[:4]}) == 1 and rows[0].caption == model.caption(image) != ""
    assert torch.equal(model.features(image), plain), "nothing is left behind"


@pytest.mark.parametrize(("label", "path"), CASES)
def test_exactly_the_touched_tokens_of_every_view_differ(
    label: str, path: str, model: CaptionModel, image: Image.Image, fitted: Callable[[str], Method]
) -> None:
    method, site = fitted(label), model.open_site(path)
    with read_by_the_network(site) as outputs:
        *_, row = caption_settings(model, site, method, image, [STRONG])
        model.caption(image)
    # The last passes: the baseline, the edit, and one without; before them, those that check for an effect.
    baseline, after, plain = outputs[-3:]
    assert len(baseline) == len(row.touched) > 1, "the whole image and its crops"
    assert torch.equal(baseline, plain)
    different = (baseline != after).any(-1)
    for view, positions in enumerate(row.touched):
        assert 3 <= len(positions) <= 9, "nu patches per unit and view, of three units"
        changed = set(different[view].nonzero()[:, 0].tolist())
        # A sparse code of zero stays zero; an activation of a sub-unit is never exactly zero.
        assert changed == set(positions) if label == "split" else changed <= set(positions)
    assert different.any()


@pytest.mark.parametrize(("label", "path"), CASES)
def test_different_edits_give_different_features(
    label: str, path: str, model: CaptionModel, image: Image.Image, fitted: Callable[[str], Method]
) -> None:
    """At the output of the last block, too, whose hidden states transformers collects by a hook of its own."""
    method, site = fitted(label), model.open_site(path)
    # A sparse code may leave a unit out everywhere: all units are scaled.
    scaled = Setting("a", range(method.n_units), alpha=4.0)
    settings = [scaled, scaled._replace(alpha=-4.0), scaled._replace(patches=1)]
    features = [edited(model, site, method, setting, image) for setting in settings]
    features.append(model.features(image))
    for index, first in enumerate(features):
        assert all(not torch.equal(first, second) for second in features[index + 1 :])
    assert torch.equal(edited(model, site, method, settings[0], image), features[0])


def test_the_edit_of_a_split_is_that_of_the_layer_inside_the_model(
    folder: Path, image: Image.Image, fitted: Callable[[str], Method]
) -> None:
    model, split = CaptionModel.load(f"vlm:{folder}", max_new_tokens=8), fitted("split")
    site = model.open_site(SITE)
    expected = edited(model, site, split, STRONG, image)
    [_, row] = caption_settings(model, site, split, image, [STRONG])
    parent = model.backbone.model.get_submodule("encoder.layers.1.mlp")
    replaced = DisentangledLinear.from_split(parent.fc2, split)
    for units, scale in ((STRONG.amplify, STRONG.alpha), (STRONG.suppress, STRONG.gamma)):
        replaced.edit_patches(list(units), scale=scale, patches=STRONG.patches)
    parent.fc2 = replaced
    torch.testing.assert_close(model.features(image), expected, rtol=1e-4, atol=1e-4)
    assert model.caption(image) == row.caption


def test_captions_are_greedy_and_repeat(model: CaptionModel, folder: Path, image: Image.Image) -> None:
    import transformers

    loaded = CaptionModel.load(str(folder), max_new_tokens=8)
    assert model.caption(image) == model.caption(image) == loaded.caption(image)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    whole = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    text = f"<|im_start|>user <image>{model.prompt}<|im_end|><|im_start|>assistant"
    inputs = processor(images=image, text=text, return_tensors="pt")
    ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(8):
            logits = whole(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
            if int(ids[0, -1]) == processor.tokenizer.eos_token_id:
                break
    expected = processor.tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()
    assert mask.all() and model.caption(image) == expected


def test_images_are_described_by_the_id_of_a_cell(
    model: CaptionModel, fits: Fits, photo_folder: Path, folder: Path
) -> None:
    paths = [photo_folder / "blue" / "00.png", photo_folder / "red" / "03.png"]
    done: list[tuple[int, int, str]] = []
    rows = caption_images(
        fits.store, fits["dictionary"][:6], model, paths, [WEAK, STRONG], progress=lambda *state: done.append(state)
    )
    expected = [(path.name, setting) for path in paths for setting in (BASELINE, "weak", "strong")]
    assert [(row.image, row.setting) for row in rows] == expected and done == [(1, 2, "00.png"), (2, 2, "03.png")]
    assert rows[0].touched == () and [len(view) for view in rows[1].touched] == [16] * len(rows[1].touched)
    assert all(row.seconds > 0 for row in rows)
    # A model by its folder, and a row by its label.
    options = {"device": "cpu", "max_new_tokens": 8}
    again = caption_images(fits.store, "dictionary", folder, paths[:1], [WEAK, STRONG], **options)
    assert [row[:4] for row in again] == [row[:4] for row in rows[:3]]


def test_the_table_is_compact_and_shows_no_control_characters() -> None:
    rows = [
        Captioned("a.png", BASELINE, "a dog\non a \x1b[2Jbike", (), 0.25),
        Captioned("a.png", "no dog", "a biker", ((0, 5), (), (7,)), 1.0),
        Captioned("a.png", "one", "a biker", ((0, 5),), 1.0),
    ]
    table = captions_table(rows)
    assert [row[2] for row in table.rows] == ["", "3 in 3 views", "2 in 1 view"]
    assert table.rows[0][3] == r"a dog on a \x1b[2Jbike" and table.rows[0][4] == "0.2"


# --- refusals ------------------------------------------------------------------------------------------------------


@contextmanager
def refused(sentence: str) -> Iterator[None]:
    with pytest.raises(UserError, match=sentence) as caught:
        yield
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (Setting(""), "The setting '' needs another name"),
        (Setting(BASELINE), "The setting 'baseline' needs another name"),
        (Setting("x", (1,), alpha=float("inf")), "alpha = inf"),
        (Setting("x", (999,)), "has no unit 999"),
        (Setting("x", (-1,)), "has no unit -1"),
        (Setting("x", (1,), patches=-1), "patches = -1"),
    ],
)
def test_invalid_settings_are_refused_before_anything_is_computed(
    setting: Setting,
    sentence: str,
    model: CaptionModel,
    image: Image.Image,
    fitted: Callable[[str], Method],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model, "caption", lambda _: pytest.fail("computed"))
    with refused(sentence):
        caption_settings(model, model.open_site(SITE), fitted("split"), image, [WEAK, setting])
    with refused("The setting 'weak' needs another name"):
        caption_settings(model, model.open_site(SITE), fitted("split"), image, [WEAK, WEAK])


def test_methods_of_other_layers_are_refused(
    model: CaptionModel, image: Image.Image, fitted: Callable[[str], Method]
) -> None:
    for label, path, sentence in (
        ("split", "encoder.layers.1.mlp.fc1", "reads an input of width 40, and that of the layer has the width 24"),
        ("split", BLOCK, "reads the input of a linear layer, and 'encoder.layers.2' is the output of a Siglip"),
        ("dictionary", "encoder.layers.1.mlp.fc1", "reads an output of width 24, .* of the layer has the width 40"),
    ):
        with refused(sentence):
            caption_settings(model, model.open_site(path), fitted(label), image, [WEAK])
    fewer = fitted("split")
    fewer.width = torch.tensor(23)  # type: ignore[attr-defined]
    with refused("it splits 23 neurons, and the layer has 24"):
        caption_settings(model, model.open_site(SITE), fewer, image, [WEAK])
    with refused("dnrwcv cannot be steered: its units are virtual"):
        caption_settings(model, model.open_site(SITE), methods.create("dnrwcv"), image, [WEAK])
    with refused("The backbone has no layer 'model.language_model.layers.0'"):
        model.open_site("model.language_model.layers.0")


def test_cells_of_other_weights_and_missing_cells_and_images_are_refused(
    fits: Fits, model: CaptionModel, photo_folder: Path, tmp_path: Path
) -> None:
    import tiny_llava

    photo = [photo_folder / "blue" / "00.png"]
    other = CaptionModel.load(str(tiny_llava.write(tmp_path / "other", seed=1)))
    with refused("was fitted on vlm:tiny, whose weights are not those of the vision tower of vlm:other"):
        caption_images(fits.store, fits["split"], other, photo, [WEAK])
    with refused("There is no cell 'ffffffff'"):
        caption_images(fits.store, "ffffffff", model, photo, [WEAK])
    with refused("There are no images"):
        caption_images(fits.store, fits["split"], model, [], [WEAK])
    (tmp_path / "broken.png").write_bytes(b"no image")
    with refused("The image 'broken.png' cannot be read: no image format"):
        caption_images(fits.store, fits["split"], model, [tmp_path / "broken.png"], [WEAK])


def test_a_layer_that_the_language_model_does_not_read_is_refused(image: Image.Image, tmp_path: Path) -> None:
    """As in LLaVA 1.5, which reads the hidden states before the last block."""
    import tiny_llava

    model = CaptionModel.load(str(tiny_llava.write(tmp_path / "second", feature_layer=-2)))
    with refused(r"'encoder.layers.2' has no effect on the captions of 'vlm:second', .*vision_feature_layer = -2"):
        model.require_effect(model.open_site(BLOCK), image)
    model.require_effect(model.open_site("encoder.layers.1"), image)


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("tokenizer.json", "The folder 'changed' cannot be read as a transformers model: it needs .*tokenizer.json"),
        ("processor_config.json", "The folder 'changed' cannot be read|has no processor for images and text"),
        ("model.safetensors", "The folder 'changed' cannot be read"),
        ("chat_template.jinja", "'vlm:changed' has no chat template"),
    ],
)
def test_incomplete_folders_are_refused(missing: str, sentence: str, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "changed"))
    (copy / missing).unlink()
    with refused(sentence):
        CaptionModel.load(str(copy))


def test_failures_of_the_model_are_one_sentence(
    model: CaptionModel, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Callable[..., Any]:
        def generate(**options: Any) -> None:
            raise error

        return generate

    monkeypatch.setattr(model._model, "generate", failing(torch.OutOfMemoryError("CUDA out of memory.\nTried ...")))
    with refused("There is not enough memory on cpu for 'vlm:tiny': use a device with more memory"):
        model.caption(image)
    monkeypatch.setattr(model._model, "generate", failing(ValueError("tokens do not match\nfeatures")))
    with refused(r"'vlm:tiny' fails on cpu \(ValueError: tokens do not match\): use another model"):
        model.caption(image)
    with refused("'vlm:tiny' did not run its vision tower"), model.tapped(model.open_site(SITE), lambda q, a: None):
        pass


def test_invalid_requests_are_refused(folder: Path) -> None:
    for options, sentence in (
        ({"prompt": "  "}, "The prompt is '  '"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0"),
        ({"max_new_tokens": True}, "max_new_tokens = True"),
    ):
        with refused(sentence):
            CaptionModel.load(str(folder), **options)  # type: ignore[arg-type]


def test_concepts_are_steered_and_kept(fits: Fits, model: CaptionModel, photo_folder: Path, tmp_path: Path) -> None:
    path = shutil.copytree(fits.store.path.parent, tmp_path / "copy") / fits.store.path.name
    store, cell = open_store(path, read_only=False), fits["split"]
    labels = pd.DataFrame(
        {
            "unit": range(6),
            "rank": 1,
            "label": ["dog", "dog", "cat", "cat", "tree", "tree"],
            "score": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "null_score": 0.0,
            "p_value": 0.01,
        }
    )
    labelling = LabellingRecord(
        cell_id=cell,
        labelling="L",
        scorer="clip",
        version=1,
        settings={},
        n_units=6,
        n_images=9,
        labelled_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    record_labels(store, labelling, labels, [])
    settings = SteerSettings(("dog",), ("cat",), alpha=40.0, gamma=-60.0, kappa=1, nu=3, matcher="words")
    image = sorted(photo_folder.rglob("*.png"))[0]
    steered = steer_captions(store, cell, model, [image], settings, keep=True)
    assert [(unit.unit, unit.factor) for unit in steered.units] == [(1, 40.0), (3, -60.0)]
    assert [each.setting for each in steered.captions] == [BASELINE, "-{cat} + {dog}"]
    plain = caption_images(store, cell, model, [image], [Setting("x", (1,), (3,), 40.0, -60.0, 3)])
    assert [each.caption for each in steered.captions] == [each.caption for each in plain]
    (row,) = steerings(store, [cell]).to_dict("records")
    assert row["kind"] == "captions" and row["settings"]["model"] == model.name
    drawn = figure(store, "steering", cell=cell, images=photo_folder)
    assert "Captions by greedy decoding" in drawn.caption
    assert title_of(SteerSettings(("bus",), ())) == "+{bus}" and title_of(SteerSettings((), ("a", "b"))) == "-{a, b}"
