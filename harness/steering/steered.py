"""Settings and results of steering."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SteerSettings(NamedTuple):
    """Concepts that are changed, and how; the letters are the paper's (App. C.3)."""

    amplify: tuple[str, ...] = ()
    """concepts whose units are scaled by alpha"""
    suppress: tuple[str, ...] = ()
    """concepts whose units are scaled by gamma; a unit of both sets is amplified"""
    alpha: float = 5.0
    gamma: float = -50.0
    kappa: int = 50
    """most units per concept"""
    nu: int | None = 50
    """patches per unit and image, those where it is most active; None: all"""
    scorer: str | None = None
    """scorer whose labels are matched; None: the one that labelled the cell last, one by class names last of all"""
    matcher: str | None = None
    """text matcher (:func:`harness.steering.matchers.matcher_of`)"""
    threshold: float | None = None
    """similarity that a label must exceed; None: that of the matcher"""
    all_labels: bool = False
    """also match labels that are not above their null (p > 0.05)"""
    seed: int = 0
    """of the random units"""
    controls: int = 3
    """draws of random units"""


class SteeredUnit(NamedTuple):
    """Unit that was edited."""

    unit: int
    concept: str
    """concept that it matched best"""
    label: str
    similarity: float
    factor: float
    p_value: float | None = None
    """of the label, against permuted images; None: unknown"""


class SteeredImage(NamedTuple):
    """Change of one image."""

    image: int
    """index in the evaluation split"""
    name: str
    before: tuple[float, ...]
    """probability of each class"""
    after: tuple[float, ...]
    control: tuple[float, ...]
    """mean over the draws of random units"""
    divergence: float
    """``KL(before || after)`` in nats"""
    control_divergence: float
    touched: tuple[tuple[int, int], ...]
    """(grid position, number of units that were edited there), ascending"""


class Steered(NamedTuple):
    """Result of :func:`steer`."""

    cell_id: str
    method: str
    layer: str
    settings: SteerSettings
    matcher: str
    """id of the text matcher"""
    units: tuple[SteeredUnit, ...]
    classes: tuple[str, ...]
    images: tuple[SteeredImage, ...]
    grid: int
    """side of the token grid; 0 if there is none"""
    n_uncontrolled: int = 0
    """images on which no other unit is active, so that there are no random units: their control is unmodified"""

    def mean(self, field: str) -> np.ndarray:
        """Return the mean over the images of ``before``, ``after`` or ``control``, (n_classes,)."""
        mean: np.ndarray = np.asarray([getattr(image, field) for image in self.images]).mean(0)
        return mean
