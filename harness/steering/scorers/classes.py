"""Scorer ``classes``: the class names of the data set, by the AUROC of a unit for the images of each class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import digest
from harness.stats.class_auroc import class_auroc, null_of_best
from harness.steering.scorers import SCORERS
from harness.steering.scorers.base import Images, Scored, Scorer
from methods.base import Progress, no_progress


@SCORERS.register()
class Classes(Scorer):
    """Labels of the images. It needs no network, and knows no concept that is not a class."""

    name = "classes"
    version = 1
    description = "class names of the data set: AUROC of the unit for each class"

    def identity(self, images: ImageSet) -> dict[str, Any]:
        """Return settings and class names.

        Raises:
            UserError: if there are fewer than two classes with images.
        """
        labelled = {int(label) for label in images.labels if label >= 0}
        if len(labelled) < 2:
            raise UserError(
                f"The scorer classes needs images of two classes, and {images.name!r} has {len(labelled)}: use the "
                "scorer classifier or clip, or images in a folder per class."
            )
        return {**self.settings.model_dump(mode="json"), "classes": digest(list(images.classes))}

    def score(self, activations: Tensor, images: Images, *, progress: Progress = no_progress) -> Scored:
        """Score the classes by AUROC."""
        labels = torch.from_numpy(images.images.labels[images.readable])
        # An image without a label may be of any class.
        activations, labels = activations[labels >= 0], labels[labels >= 0]
        if not len(labels):
            raise UserError("None of the images that can be read has a label, which the scorer classes needs.")
        members = labels[:, None] == torch.arange(len(images.images.classes))
        scores = class_auroc(activations, members)
        # Nothing can be said of a unit that is silent, or equally active everywhere.
        constant = activations.amax(0) == activations.amin(0)
        scores[constant] = torch.nan
        settings = self.settings
        null = null_of_best(activations, members, n_draws=settings.draws, seed=settings.seed, device=images.device)
        return Scored(images.images.classes, scores, null)
