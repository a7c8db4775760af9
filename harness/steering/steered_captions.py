"""Captions before and after steering concepts in the vision tower of a vision-language model, and their storage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness.cells.stored_cell import finished_cell
from harness.identity import digest
from harness.steering.caption_run import caption_images
from harness.steering.captions import MAX_NEW_TOKENS, PROMPT, Captioned, CaptionModel, Setting
from harness.steering.concept_units import concept_units
from harness.steering.steered import SteeredUnit, SteerSettings
from methods.base import Progress, no_progress
from results import Store
from results.store.steerings import SteeringRecord, record_steering


class SteeredCaptions(NamedTuple):
    """Captions of images, each without an edit and with it."""

    cell_id: str
    method: str
    """display name of the method"""
    units: tuple[SteeredUnit, ...]
    matcher: str
    captions: tuple[Captioned, ...]


def steer_captions(
    store: Store,
    cell: str,
    model: str | Path | CaptionModel,
    images: Sequence[Path],
    settings: SteerSettings,
    *,
    keep: bool = False,
    prompt: str = PROMPT,
    max_new_tokens: int = MAX_NEW_TOKENS,
    device: str = "auto",
    progress: Progress = no_progress,
) -> SteeredCaptions:
    """Describe images without an edit, and with the units of some concepts edited in the vision tower.

    Args:
        store: store with the cell and the labels of its units; open for writing with ``keep``.
        cell: id of a finished cell on the tower (``harness run --backbone vlm:MODEL``), or the name of its row.
        model: name on the Hugging Face hub or folder of the vision-language model, or a loaded one.
        images: files.
        settings: concepts and factors; nu counts the patches of each view.
        keep: store the captions.
        prompt: what the model is asked.
        max_new_tokens: longest caption.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        progress: called after each image.

    Raises:
        UserError: as :func:`harness.steering.caption_run.caption_images`, or if no unit matches a concept.
        StoreError: if the store cannot be read, or written with ``keep``.
    """
    row = finished_cell(store, cell)
    cell_id = str(row["cell_id"])
    units, matcher = concept_units(store, cell_id, settings)
    setting = Setting(
        title_of(settings),
        amplify=[unit.unit for unit in units if unit.concept in settings.amplify],
        suppress=[unit.unit for unit in units if unit.concept not in settings.amplify],
        alpha=settings.alpha,
        gamma=settings.gamma,
        patches=settings.nu,
    )
    captions = caption_images(
        store,
        cell_id,
        model,
        images,
        [setting],
        device=device,
        prompt=prompt,
        max_new_tokens=max_new_tokens,
        progress=progress,
    )
    steered = SteeredCaptions(cell_id, str(row["label"]), units, matcher, tuple(captions))
    if keep:
        name = model.name if isinstance(model, CaptionModel) else str(model)
        unused = ("seed", "controls")  # captions have no control
        kept = {key: value for key, value in settings._asdict().items() if key not in unused}
        _keep(store, steered, {**kept, "model": name, "prompt": prompt, "max_new_tokens": max_new_tokens})
    return steered


def title_of(settings: SteerSettings) -> str:
    """Return the concepts as the paper's figures name them, such as ``-{dog} + {biker}``."""
    parts = [
        f"{sign}{{{', '.join(concepts)}}}"
        for sign, concepts in (("-", settings.suppress), ("+ " if settings.suppress else "+", settings.amplify))
        if concepts
    ]
    return " ".join(parts)


def _keep(store: Store, steered: SteeredCaptions, settings: dict[str, object]) -> None:
    images = list(dict.fromkeys(each.image for each in steered.captions))
    settings = {**settings, "images": images, "matcher": steered.matcher}
    result = {
        "method": steered.method,
        "units": [unit._asdict() for unit in steered.units],
        "captions": [
            {"image": each.image, "setting": each.setting, "caption": each.caption} for each in steered.captions
        ],
    }
    record_steering(
        store,
        SteeringRecord(
            cell_id=steered.cell_id,
            steering=digest(settings),
            kind="captions",
            settings=settings,
            result=result,
            steered_at=datetime.now(UTC),
        ),
    )
