"""Interface of every backbone, independent of its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from harness.backbones.preprocessing import Preprocessing
from harness.backbones.tensor_hash import hash_tensors
from harness.backbones.text_tower import TextTower
from methods.errors import UserError

__all__ = ["Backbone", "Preprocessing", "last_fc2", "last_path"]

Features = Callable[[nn.Module, Tensor], Tensor]


@dataclass(eq=False)
class Backbone:
    """Frozen vision model with the transform it was trained for.

    Attributes:
        name: the spec given by the user, without machine paths (``"timm:vit_base_patch14_dinov2"``).
        title: human-readable name (``"DINOv2 ViT-S/14, saliency-tuned"``).
        model: the network, in evaluation mode, without gradients for its parameters and without in-place activations.
        preprocessing: the model's evaluation transform.
        n_prefix_tokens: number of leading tokens that belong to no image position (CLS and registers); 0 for a CNN.
        default_site: path of the layer to decompose if the user names none, or None.
        source: origin of the weights; ``license``: license of the weights.
        pretrained: False for random weights.
        n_classes: number of classes of the model's classification head, None if it has none.
        head_labels: label set of that head (``"imagenet-1k"``, in its index order), None if unknown.
        pool: ``(model, images (B, 3, S, S)) -> (B, d)``, the whole network up to the input of a head.
        grid_sides: sides of the square token grids that the model can form, None if unknown; set when it is loaded.
        reading: how the model is read, where an earlier version read it wrongly; part of the identity.
        text_tower: loads the text tower of a two-tower model, for zero-shot classification; None if it has none.
        head: ``(model, features (B, d)) -> (B, n_classes)``, or None.
        notes: sentences for the user on what was assumed or left out; printed at the start of a run.
        final_tokens: ``(model, images (B, 3, S, S)) -> (B, T, d)``, the whole network up to the tokens after the final
            norm, those of ``n_prefix_tokens`` first; None if the model has none.
    """

    name: str
    title: str
    model: nn.Module
    preprocessing: Preprocessing
    n_prefix_tokens: int
    default_site: str | None
    source: str
    license: str
    pretrained: bool
    pool: Features
    head: Features | None = None
    n_classes: int | None = None
    head_labels: str | None = None
    notes: tuple[str, ...] = ()
    grid_sides: frozenset[int] | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    text_tower: Callable[[], TextTower] | None = None
    final_tokens: Features | None = None
    _fingerprint: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)
        for module in self.model.modules():
            # An in-place activation would overwrite the output a forward hook has captured from the layer before it.
            if getattr(module, "inplace", False) is True:
                module.inplace = False  # type: ignore[assignment]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    def blank_images(self, n: int) -> Tensor:
        """Return inputs (n, 3, S, S) of zeros on :attr:`device`."""
        return torch.zeros(n, 3, self.preprocessing.size, self.preprocessing.size, device=self.device)

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled final representation (B, d) float32, the input of a classification head.

        A ViT gives its final-norm CLS token, or the model's own pooling; a CNN gives its pooled feature map. The whole
        network runs, so a forward hook that replaces the output of an inner layer affects the result.

        Args:
            images: (B, 3, S, S) float32, made by :attr:`preprocessing`, on :attr:`device`.
        """
        return self.pool(self.model, images)

    def head_logits(self, features: Tensor) -> Tensor:
        """Return the logits (B, n_classes) float32 of the model's classification head on ``features`` (B, d).

        ``head_logits(features(x))`` is the model's plain forward pass.

        Raises:
            UserError: if the model has no head that reads the pooled features.
        """
        if self.head is None:
            raise UserError(
                f"The backbone {self.name!r} has no classification head: fit a linear probe on its features."
            )
        return self.head(self.model, features)

    def identity(self) -> dict[str, Any]:
        """Return weights and preprocessing, for identities of what is computed with them."""
        return {"weights": self.fingerprint(), "preprocessing": self.preprocessing.canonical(), **self.reading}

    def fingerprint(self) -> str:
        """Return the hash of the tensors of the state dict.

        It is computed at the first call and cached, so call this before a layer is replaced.
        """
        if self._fingerprint is None:
            self._fingerprint = hash_tensors(self.model.state_dict())
        return self._fingerprint


def last_path(model: nn.Module, accepts: Callable[[str, nn.Module], bool]) -> str | None:
    """Return the path of the last module that ``accepts(path, module)``, or None."""
    return next((path for path, module in reversed(list(model.named_modules())) if accepts(path, module)), None)


def last_fc2(model: nn.Module) -> str | None:
    """Return the path of the last linear layer named ``fc2`` (the output of the last block's MLP), or None.

    The MLP of an attention pool is excluded: it comes after all blocks and reads no tokens.
    """

    def accepts(path: str, module: nn.Module) -> bool:
        pooling = {"attn_pool", "head"} & set(path.split("."))
        return path.endswith(".fc2") and isinstance(module, nn.Linear) and not pooling

    return last_path(model, accepts)
