"""Scorer ``classifier``: the classes of a pretrained classification network, by soft-WPMI of its probabilities."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from harness import backbones
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.label_sets import IMAGENET_1K
from harness.errors import UserError
from harness.steering.imagenet_names import imagenet_names
from harness.steering.network_pass import features_of
from harness.steering.scorers import SCORERS
from harness.steering.scorers.base import Images, ProbabilityScorer, ProbabilitySettings
from methods.base import Progress
from methods.plugin_calls import calling


class ClassifierSettings(ProbabilitySettings):
    """Settings of the scorer."""

    backbone: str = Field("efficientnet_lite0", description="backbone with a head of ImageNet-1k's classes")


@SCORERS.register()
class Classifier(ProbabilityScorer):
    """Probabilities of ImageNet-1k's 1000 classes. The default network is a package, so nothing is downloaded."""

    name = "classifier"
    version = 1
    description = "ImageNet-1k classes of a classification network (embedded: EfficientNet-Lite0): soft-WPMI"
    Settings = ClassifierSettings

    @cached_property
    def network(self) -> Backbone:
        """Network with its head.

        Raises:
            UserError: if it has no head of ImageNet-1k's classes.
        """
        name = self.settings.backbone
        with calling(backbones.BACKBONES, name.partition(":")[0]):
            backbone = backbones.load(name)
        if backbone.head is None or backbone.head_labels != IMAGENET_1K:
            raise UserError(
                f"The scorer classifier needs a backbone with a head of ImageNet-1k's classes, and {name} has none: "
                "use efficientnet_lite0, or a classification model of timm."
            )
        return backbone

    def identity(self, images: ImageSet) -> dict[str, Any]:
        """Return settings and weights."""
        settings = self.settings.model_dump(mode="json")
        return {**settings, "backbone": self.network.name, **self.network.identity()}

    def probabilities(self, images: Images, progress: Progress) -> tuple[tuple[str, ...], Tensor]:
        """Return the names of the classes, and their probabilities."""
        network = self.network
        rows = [
            torch.softmax(network.head_logits(features).float(), 1).cpu()
            for features in features_of(network, images, progress)
        ]
        return imagenet_names(), torch.cat(rows)
