"""The backbone's own classification head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.activations.heads import HEADS
from harness.activations.heads.base import Head, HeadKind
from harness.datasets.loading import BrokenReport
from harness.errors import UserError
from methods.base import Progress, no_progress


class BackboneHead(Head):
    """Head that is part of the backbone."""

    def logits(self, features: Tensor) -> Tensor:
        return self.backbone.head_logits(features)


@HEADS.register()
class OwnHead(HeadKind):
    """The backbone's own head.

    Its classes are the images' classes if it was trained on that label set (recognised by the class folders: ImageNet's
    1000 WordNet ids in order). Otherwise accuracy is not measured.
    """

    name = "own"
    description = "the backbone's own classification head"

    def check(self) -> None:
        if self.backbone.n_classes is None:
            raise UserError(f'The backbone {self.backbone.name} has no classification head: use head = "probe".')

    def identity(self) -> dict[str, Any]:
        return {"kind": self.name}

    def make(
        self, cache: Path, *, batch_size: int = 32, progress: Progress = no_progress, report: BrokenReport | None = None
    ) -> Head:
        self.check()
        return BackboneHead(self.backbone, self.class_index)

    def _class_index(self) -> Tensor | None:
        classes = self.probing.classes
        wordnet = all(len(name) == 9 and name[0] == "n" and name[1:].isdigit() for name in classes)
        same = self.backbone.head_labels == "imagenet-1k" and len(classes) == self.backbone.n_classes == 1000
        return torch.arange(1000) if same and wordnet else None
