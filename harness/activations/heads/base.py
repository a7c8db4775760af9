"""Interface of classification heads: what is planned before a run, and the head that predicts."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.errors import UserError
from methods.base import Progress, no_progress
from methods.registry import did_you_mean
from methods.setting_problems import problems_of, quoted, reason


@dataclass(frozen=True)
class Head(ABC):
    """Classification head: maps images to features, and features to logits."""

    backbone: Backbone
    class_index: Tensor | None
    """(number of classes of the images,) int64: the head's class for each class of the images, -1 if it has none; None
    if the head's classes are not known to be those of the images, so that accuracy has no meaning"""

    @property
    def predicts_labels(self) -> bool:
        """True if its classes are the classes of the images, so that accuracy is meaningful."""
        return self.class_index is not None

    def targets(self, labels: Tensor) -> Tensor:
        """Return the head's class (n,) int64 for each label (n,) of an image; -1 if it has none."""
        if self.class_index is None:
            return torch.full_like(labels, -1)
        return torch.where(labels >= 0, self.class_index[labels.clamp_min(0)], -1)

    def features(self, images: Tensor) -> Tensor:
        """Return the features (B, d) that :meth:`logits` reads. The whole network runs.

        Args:
            images: (B, 3, S, S) float32, made by the backbone's preprocessing, on its device.
        """
        return self.backbone.features(images)

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (B, n_classes) of features (B, d)."""

    def fingerprint(self) -> str | None:
        """Return the hash of the weights of this head; None if they are part of the backbone."""
        return None


@dataclass(frozen=True)
class LinearHead(Head):
    """Head with ``logits = features @ weight.T + bias``."""

    weight: Tensor
    """(n_classes, d)"""
    bias: Tensor
    """(n_classes,)"""

    def logits(self, features: Tensor) -> Tensor:
        return features @ self.weight.to(features).T + self.bias.to(features)

    def fingerprint(self) -> str | None:
        return weights_hash(self.weight, self.bias)


def weights_hash(*tensors: Tensor) -> str:
    """Return the hash of the bytes of tensors."""
    hashed = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        hashed.update(tensor.cpu().contiguous().numpy().data)
    return hashed.hexdigest()


class HeadSettings(BaseModel):
    """Settings of a kind of head; the base class has none. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HeadWeights(NamedTuple):
    """File that a head needs, for checks before a run (``harness doctor``)."""

    what: str
    """name in messages, ending in ``of NAME``"""
    local: bool
    """True if it is on this machine"""
    missing: str
    """reason why it is not on this machine, if it is not"""
    host: str | None
    """host from which a missing file is downloaded; None if it must be on this machine"""
    remedy: str
    """how to get the file by other means"""


class HeadKind(ABC):
    """Head of one target as planned: it can be checked and identified before anything is computed.

    A plugin subclasses it, sets :attr:`name`, implements :meth:`identity` and :meth:`make`, and registers the class
    with ``HEADS.register()`` in the entry-point group ``harness.heads``.

    Args:
        backbone: the loaded backbone.
        probing: the probing images; the evaluation images have the same classes.
        dataset: name of the image set, for messages.
        settings: values of ``head_settings`` in the suite.

    Raises:
        UserError: for an invalid setting.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    Settings: ClassVar[type[HeadSettings]] = HeadSettings
    fitted: ClassVar[bool] = False
    """True if the head is fitted on the probing images, so that it cannot predict a class that has none."""

    def __init__(self, backbone: Backbone, probing: ImageSet, dataset: str, settings: dict[str, Any]) -> None:
        self.backbone = backbone
        self.probing = probing
        self.dataset = dataset
        self.settings = self._validated(settings)

    @classmethod
    def needs(cls, backbone: str, settings: Mapping[str, Any], *, weights: bool = True) -> Sequence[HeadWeights]:
        """Return the files that the head needs. Nothing is loaded, downloaded or validated.

        Args:
            backbone: the backbone's name in the suite.
            weights: False if the backbone has random weights.
            settings: ``head_settings`` of the suite, not validated yet.
        """
        return ()

    def release(self) -> None:
        """Forget networks that the head has loaded, at the end of a run."""
        return None

    @cached_property
    def class_index(self) -> Tensor | None:
        """:attr:`Head.class_index` of this head."""
        return self._class_index()

    def check(self) -> None:  # noqa: B027 (most kinds need no check)
        """Raise UserError if the head cannot be made for this backbone and these images."""

    def notes(self) -> list[str]:
        """Return sentences on the head that are printed at the start of a run."""
        return []

    def reads_features(self, cache: Path) -> bool:
        """Return True if :meth:`make` will need the features of the probing images.

        They are then written by the pass that collects the tokens, if there is one
        (:func:`harness.activations.probing_features.probing_features` reads them).
        """
        return False

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return the part of a cell's identity that the head determines, with a key ``kind``."""

    @abstractmethod
    def make(
        self, cache: Path, *, batch_size: int = 32, progress: Progress = no_progress, report: BrokenReport | None = None
    ) -> Head:
        """Return the head. What is expensive to make is kept in the folder ``cache``.

        Args:
            report: receives the images that cannot be read.
        """

    def _class_index(self) -> Tensor | None:
        return torch.from_numpy(np.arange(len(self.probing.classes)))

    def _validated(self, values: dict[str, Any]) -> Any:
        try:
            return self.Settings(**values)
        except ValidationError as error:
            raise UserError(" ".join(map(self._sentence, problems_of(error)))) from error

    def _sentence(self, problem: Any) -> str:
        where = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            fields = list(self.Settings.model_fields)
            return f"The head {self.name} has no setting {where!r}. {did_you_mean(where, fields)}"
        return f"head_settings.{where} = {quoted(problem.get('input'))} of the head {self.name}: {reason(problem)}."


def predictions(logits: Tensor) -> Tensor:
    """Return the predicted class (B,) of each row of logits (B, n_classes).

    A row with a NaN or infinite logit gives -1, which is no class: ``argmax`` treats NaN as the largest value, so a
    network that outputs only NaN would be counted as correct on all images of class 0.
    """
    return torch.where(torch.isfinite(logits).all(-1), logits.argmax(-1), -1)
