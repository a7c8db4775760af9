"""Captions of images under edits of a finished cell's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import methods
from harness.activations.interventions import require_editable
from harness.activations.site import Site
from harness.cells.stored_cell import finished_cell, fit_file, part_of
from harness.datasets.base import BrokenImageError, ImageSet
from harness.devices import best_device
from harness.errors import UserError
from harness.steering.captions import (
    MAX_NEW_TOKENS,
    PROMPT,
    Captioned,
    CaptionModel,
    Setting,
    caption_settings,
    require_fitting,
    require_settings,
)
from methods.base import Method, Progress, no_progress
from methods.plugin_calls import calling
from results.store import Store
from results.visible_text import one_line


def caption_images(
    store: Store,
    cell: str,
    model: str | Path | CaptionModel,
    images: ImageSet | Sequence[Path],
    settings: Sequence[Setting],
    *,
    device: str = "auto",
    prompt: str = PROMPT,
    max_new_tokens: int = MAX_NEW_TOKENS,
    progress: Progress = no_progress,
) -> list[Captioned]:
    """Return the captions of images without an edit and under each setting, by image.

    Args:
        store: the results; fitted methods are in ``artifacts/`` beside it.
        cell: id of a finished cell or its first digits, or the name of a row that has one finished cell. Its method was
            fitted on the vision tower of ``model``: ``harness run --backbone vlm:MODEL``.
        model: name on the Hugging Face hub or folder of a vision-language model, or a loaded one. Of a loaded one,
            ``device``, ``prompt`` and ``max_new_tokens`` have no effect.
        images: files, or a set of images.
        settings: the edits, under different names.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        progress: called as ``progress(done, total, what)`` after each image.

    Raises:
        UserError: if there is no such cell or image, a setting is invalid, the model cannot be used, the method is
            virtual, or it was fitted on other weights or another layer.
        results.StoreError: if the store cannot be read.
    """
    require_settings(settings)
    image_set = images if isinstance(images, ImageSet) else _set_of(images)
    row = finished_cell(store, cell)
    method = _method_of(store, row)
    for index in range(len(image_set)):
        _opened(image_set, index)  # a broken image is named before anything is computed
    if not isinstance(model, CaptionModel):
        chosen = best_device(device)
        model = CaptionModel.load(str(model), device=chosen, prompt=prompt, max_new_tokens=max_new_tokens)
    site = _site_of(row, model)
    require_fitting(method, site)
    captions = []
    for index, record in enumerate(image_set.records):
        image = _opened(image_set, index)
        with calling(methods.METHODS, str(row["method"])):
            captions += caption_settings(model, site, method, image, settings, name=record.name)
        progress(index + 1, len(image_set), record.name)
    return captions


def _set_of(paths: Sequence[Path]) -> ImageSet:
    if not paths:
        raise UserError("There are no images to describe: give at least one.")
    return ImageSet.labelled("images", [(Path(path).name, Path(path), "") for path in paths])


def _opened(images: ImageSet, index: int) -> Image.Image:
    try:
        return images.open(index)
    except BrokenImageError as error:
        raise UserError(f"The image {error.name!r} cannot be read: {error.reason}.") from error


def _method_of(store: Store, row: Mapping[str, Any]) -> Method:
    file = fit_file(store, row)
    with calling(methods.METHODS, str(row["method"])):
        method = methods.load(file)
        require_editable(method)
    return method


def _site_of(row: Mapping[str, Any], model: CaptionModel) -> Site:
    """Return the site of a cell in the vision tower of a model.

    Raises:
        UserError: if the cell's backbone has other weights, or the tower has no such layer.
    """
    recorded = part_of(row["identity"], "evaluation").get("weights")
    if recorded != model.backbone.fingerprint():
        raise UserError(
            f"The cell {row['cell_id']} was fitted on {one_line(row['backbone'])}, whose weights are not those of the "
            f"vision tower of {model.name}: choose a cell of `harness run --backbone {model.name}`."
        )
    return model.open_site(str(row["site"]))
