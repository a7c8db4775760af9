"""Scorer ``clip``: any list of concepts, by soft-WPMI of the similarity of images and texts in a two-tower model."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from harness import backbones
from harness.backbones.base import Backbone
from harness.backbones.text_tower import TextTower
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.identity import digest
from harness.steering.concepts import read_concepts
from harness.steering.network_pass import features_of
from harness.steering.scorers import SCORERS
from harness.steering.scorers.base import Images, ProbabilityScorer, ProbabilitySettings
from methods.base import Progress
from methods.plugin_calls import calling

#: Factor of the cosines in the published code of CLIP-Dissect: ``softmax(10 cos)``.
SCALE = 10.0
#: Texts that are embedded together.
TEXTS = 256


class ClipSettings(ProbabilitySettings):
    """Settings of the scorer."""

    model: str = Field(
        "hf:google/siglip2-so400m-patch14-384",
        description="CLIP or SigLIP model as a backbone: a name of the Hub, or hf:FOLDER; the default is the paper's",
    )
    concepts: str = Field("common", description="list of concepts: common, imagenet or a text file")
    template: str = Field("{}", description="text of a concept, with {} for the concept")
    scale: float = Field(SCALE, gt=0, le=1000, description="factor of the cosines before the softmax over concepts")


@SCORERS.register()
class Clip(ProbabilityScorer):
    """Softmax over the concepts of the scaled cosines of image and text embeddings, as in CLIP-Dissect."""

    name = "clip"
    version = 1
    description = "concepts of a list by a CLIP or SigLIP model: soft-WPMI, as CLIP-Dissect"
    Settings = ClipSettings

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Concepts of the list.

        Raises:
            UserError: if it cannot be read, or the template has no place for a concept.
        """
        if self.settings.template.count("{}") != 1:
            raise UserError(f"template = {self.settings.template!r} of the scorer clip: it must contain {{}} once.")
        return read_concepts(self.settings.concepts)

    @cached_property
    def network(self) -> tuple[Backbone, TextTower]:
        """Image tower and text tower.

        Raises:
            UserError: if the model cannot be loaded or has no text tower.
        """
        name = self.settings.model
        with calling(backbones.BACKBONES, name.partition(":")[0]):
            backbone = backbones.load(name)
            if backbone.text_tower is None:
                raise UserError(
                    f"The scorer clip needs a model with a text tower, and {name} has none: name a CLIP or SigLIP "
                    "model, such as hf:google/siglip2-so400m-patch14-384, or use the scorer classifier."
                )
            return backbone, backbone.text_tower()

    def identity(self, images: ImageSet) -> dict[str, Any]:
        """Return settings, weights of both towers, and concepts."""
        concepts = digest(list(self.concepts))
        backbone, tower = self.network
        settings = self.settings.model_dump(mode="json")
        # Names without paths: the same model in another folder is the same.
        named = {"model": backbone.name, "concepts": concepts, "text_tower": tower.fingerprint()}
        return {**settings, **backbone.identity(), **named}

    def probabilities(self, images: Images, progress: Progress) -> tuple[tuple[str, ...], Tensor]:
        """Return the concepts, and their probabilities."""
        backbone, tower = self.network
        texts = [self.settings.template.replace("{}", concept) for concept in self.concepts]
        with torch.inference_mode():
            embedded = torch.cat(
                [tower.embed(texts[start : start + TEXTS]) for start in range(0, len(texts), TEXTS)]
            ).float()
            directions = torch.nn.functional.normalize(embedded, dim=1).to(images.device)
            rows = []
            for features in features_of(backbone, images, progress):
                projected = torch.nn.functional.normalize(tower.project(features).float(), dim=1)
                rows.append(torch.softmax(self.settings.scale * projected @ directions.T, 1).cpu())
        return self.concepts, torch.cat(rows)
