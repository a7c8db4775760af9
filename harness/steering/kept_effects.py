"""Effects of steering as they are stored: of each image the classes that matter, so that the size stays bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from harness.identity import digest
from harness.steering.steered import Steered
from results import Store
from results.store.steerings import SteeringRecord, record_steering


def gained_and_lost(steered: Steered, n: int = 5) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Return the classes whose mean probability rises most and falls most, with the change."""
    change = steered.mean("after") - steered.mean("before")
    order = np.argsort(-change, kind="stable")
    gained = [(steered.classes[number], float(change[number])) for number in order[:n] if change[number] > 0]
    lost = [(steered.classes[number], float(change[number])) for number in order[::-1][:n] if change[number] < 0]
    return gained, lost


def keep_steered(store: Store, steered: Steered) -> None:
    """Store an effect: of each image the classes that matter, so that its size does not grow with their number."""
    settings = {
        **steered.settings._asdict(),
        "images": [image.image for image in steered.images],
        "matcher": steered.matcher,
    }
    record_steering(
        store,
        SteeringRecord(
            cell_id=steered.cell_id,
            steering=digest(settings),
            kind="classes",
            settings=settings,
            result=kept_result(steered),
            steered_at=datetime.now(UTC),
        ),
    )


#: Images and classes of a stored effect.
MOST_IMAGES, MOST_CLASSES = 50, 10


def kept_result(steered: Steered) -> dict[str, Any]:
    """Return the effect as JSON: units, and per image the classes with the largest probabilities and changes."""
    images = []
    for image in steered.images[:MOST_IMAGES]:
        before, after, control = (np.asarray(getattr(image, name)) for name in ("before", "after", "control"))
        order = np.argsort(-np.maximum(np.maximum(before, after), np.abs(after - before)), kind="stable")
        images.append(
            {
                "image": image.image,
                "name": image.name,
                "divergence": image.divergence,
                "control_divergence": image.control_divergence,
                "touched": [list(each) for each in image.touched],
                "classes": [
                    {
                        "name": steered.classes[number],
                        "before": float(before[number]),
                        "after": float(after[number]),
                        "control": float(control[number]),
                    }
                    for number in order[:MOST_CLASSES]
                ],
            }
        )
    gained, lost = gained_and_lost(steered, MOST_CLASSES)
    return {
        "method": steered.method,
        "layer": steered.layer,
        "grid": steered.grid,
        "n_images": len(steered.images),
        "units": [unit._asdict() for unit in steered.units],
        "gained": [list(each) for each in gained],
        "lost": [list(each) for each in lost],
        "images": images,
    }
