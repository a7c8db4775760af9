"""Heads whose classes are those of a published label set, whatever the classes of the images are."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from harness.activations.heads.base import HeadKind
from harness.datasets.label_sets import LabelMatch, are_wordnet_ids, match_classes, size_of, title_of
from harness.identity import digest


class LabelSetHeadKind(HeadKind):
    """Kind of head that predicts a label set such as ImageNet-1k.

    Accuracy is measured if every class of the images is a class of that label set
    (:func:`harness.datasets.label_sets.match_classes`). The head chooses among all of its classes, also if the images
    have only some of them.
    """

    @property
    @abstractmethod
    def label_set(self) -> str | None:
        """Name of the label set (``"imagenet-1k"``), None if it is unknown."""

    @property
    @abstractmethod
    def n_labels(self) -> int | None:
        """Number of classes of the head."""

    @cached_property
    def label_match(self) -> LabelMatch:
        """Classes of the head for the classes of the images, or the reason why they do not match."""
        if self.label_set is None:
            return LabelMatch(None, f"the labels of the head of {self.backbone.name} are unknown")
        size = size_of(self.label_set)
        if size is not None and size != self.n_labels:
            reason = (
                f"the head of {self.backbone.name} has {self.n_labels} classes and {title_of(self.label_set)} {size}"
            )
            return LabelMatch(None, reason)
        return match_classes(self.probing.classes, self.label_set)

    def notes(self) -> list[str]:
        names, match = self.probing.classes, self.label_match
        if match.indices is None:
            remedy = 'Agreement is measured. For accuracy, fit a head to the images: head = "probe".'
            return [f'No accuracy for {self.backbone.name} with head = "{self.name}": {match.reason}. {remedy}']
        if are_wordnet_ids(names) and match.indices == tuple(range(self.n_labels or 0)):
            return []
        others = "" if len(names) == self.n_labels else " A prediction of any other class counts as wrong."
        title = title_of(self.label_set)
        examples = f"{names[0]!r} is class {match.indices[0]}, {names[-1]!r} is class {match.indices[-1]}"
        return [
            f'Accuracy with head = "{self.name}": the {len(names)} classes of {self.dataset} are read as classes of '
            f"{title} {match.reason} ({examples}).{others}"
        ]

    def classes_identity(self) -> str | None:
        """Return the hash of :attr:`class_index` for an identity; None if accuracy is not measured."""
        return None if self.label_match.indices is None else digest(list(self.label_match.indices))

    def _class_index(self) -> Tensor | None:
        indices = self.label_match.indices
        return None if indices is None else torch.tensor(indices, dtype=torch.int64)
