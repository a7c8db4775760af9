"""The backbone's own classification head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from harness.activations.heads import HEADS
from harness.activations.heads.base import Head
from harness.activations.heads.labels import LabelSetHeadKind
from harness.backbones.sources.base import LOCAL_CHECKPOINT
from harness.datasets.label_sets import IMAGENET_1K, are_wordnet_ids
from harness.datasets.loading import BrokenReport
from harness.errors import UserError
from methods.base import Progress, no_progress


class BackboneHead(Head):
    """Head that is part of the backbone."""

    def logits(self, features: Tensor) -> Tensor:
        return self.backbone.head_logits(features)


@HEADS.register()
class OwnHead(LabelSetHeadKind):
    """The backbone's own head.

    Accuracy is measured if it was trained on a known label set that has the images' classes.
    """

    name = "own"
    description = "the backbone's own classification head"

    @property
    def label_set(self) -> str | None:
        return self.backbone.head_labels

    @property
    def n_labels(self) -> int | None:
        return self.backbone.n_classes

    def check(self) -> None:
        if self.backbone.n_classes is None:
            raise UserError(f'The backbone {self.backbone.name} has no classification head: use head = "probe".')

    def identity(self) -> dict[str, Any]:
        """Return the kind, and the classes of the images in the head where an earlier version read them differently.

        Scores of cells with the same identity are reused, and an accuracy that was wrong or missing must not be.
        """
        same = self.label_match.indices == self._earlier_index()
        return {"kind": self.name} if same else {"kind": self.name, "classes": self.classes_identity()}

    def _earlier_index(self) -> tuple[int, ...] | None:
        """Return the classes up to version 0.1: any 1000 names like WordNet ids were taken for ImageNet-1k's.

        So were the 1000 classes of every model of timm, whatever its tag. Labels of local checkpoints were unknown.
        """
        names, source = self.probing.classes, self.backbone.source
        labelled = source.startswith("timm ") or (self.label_set == IMAGENET_1K and source != LOCAL_CHECKPOINT)
        matched = labelled and self.n_labels == len(names) == 1000 and are_wordnet_ids(names)
        return tuple(range(1000)) if matched else None

    def make(
        self, cache: Path, *, batch_size: int = 32, progress: Progress = no_progress, report: BrokenReport | None = None
    ) -> Head:
        self.check()
        return BackboneHead(self.backbone, self.class_index)
