"""DINOv2's published linear classifier of ImageNet-1k: reads CLS and the mean of the patches after the final norm.

The files ``dinov2_vit{s,b,l}14_linear_head.pth`` of facebookresearch/dinov2 hold ``weight`` (1000, 2 d) and ``bias``
(1000,). With a backbone of width d the logits are ``weight @ [CLS, mean of the patches] + bias``
(``dinov2/hub/classifiers.py``, one layer).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.activations.heads import HEADS
from harness.activations.heads.base import Head, HeadSettings, HeadWeights, LinearHead, weights_hash
from harness.activations.heads.labels import LabelSetHeadKind
from harness.backbones.base import Backbone
from harness.backbones.sources.checkpoint import read_state_dict
from harness.backbones.sources.dinov2 import ARCHITECTURES
from harness.backbones.sources.hub import in_torch_cache
from harness.datasets.label_sets import IMAGENET_1K
from harness.datasets.loading import BrokenReport
from harness.errors import UserError, first_line
from methods.base import Progress, no_progress

HOST = "dl.fbaipublicfiles.com"
URL = f"https://{HOST}/dinov2/{{name}}/{{name}}_linear_head.pth"
N_CLASSES = 1000
#: Prefixes of the two names: a head alone, and a model of the repository's ``dinov2_vit?14_lc``.
_PREFIXES = ("", "linear_head.")


class LinearWeights(NamedTuple):
    """Weights of a linear head, float32 on the CPU."""

    weight: Tensor
    """(1000, 2 d)"""
    bias: Tensor
    """(1000,)"""


class TokensHead(LinearHead):
    """Linear head on [CLS, mean of the patch tokens]."""

    def features(self, images: Tensor) -> Tensor:
        return cls_and_mean(_final_tokens(self.backbone, images), self.backbone.n_prefix_tokens)


def _final_tokens(backbone: Backbone, images: Tensor) -> Tensor:
    """Return the tokens (B, T, d) float32 after the final norm."""
    assert backbone.final_tokens is not None  # DINOv2Linear.check
    return backbone.final_tokens(backbone.model, images).float()


def cls_and_mean(tokens: Tensor, n_prefix_tokens: int) -> Tensor:
    """Return (B, 2 d): the first of the tokens (B, T, d), and the mean of those after the prefix."""
    return torch.cat([tokens[:, 0], tokens[:, n_prefix_tokens:].mean(1)], dim=1)


class DINOv2LinearSettings(HeadSettings):
    """Settings of the published linear head."""

    checkpoint: str | None = None
    """file of the head; default: the published file of the backbone, downloaded on first use"""


@HEADS.register()
class DINOv2Linear(LabelSetHeadKind):
    """Published linear head of DINOv2 ViT-S/14, ViT-B/14 and ViT-L/14, from a download or a local file.

    It belongs to the original weights, ``dinov2_vits14``, ``dinov2_vitb14`` and ``dinov2_vitl14``. Other vision
    transformers need a file whose width fits them.
    """

    name = "dinov2_linear"
    description = "DINOv2's published ImageNet-1k classifier of CLS and the mean of the patches"
    Settings = DINOv2LinearSettings

    @classmethod
    def needs(cls, backbone: str, settings: Mapping[str, Any], *, weights: bool = True) -> Sequence[HeadWeights]:
        what, file = f"linear head of {backbone}", settings.get("checkpoint")
        if file is not None:
            missing = f"there is no file {file!r}"
            return [HeadWeights(what, Path(str(file)).expanduser().is_file(), missing, None, "Use an existing file.")]
        if not weights or backbone not in ARCHITECTURES:
            return []  # random weights, or the error of check()
        published = f"{backbone}_linear_head.pth"
        remedy = (
            f"Run with network access, or use a local {published}: "
            f"--set target.{backbone}.head_settings.checkpoint=FILE"
        )
        return [HeadWeights(what, in_torch_cache(published), "not on this machine", HOST, remedy)]

    @property
    def label_set(self) -> str | None:
        return IMAGENET_1K

    @property
    def n_labels(self) -> int | None:
        return N_CLASSES

    @cached_property
    def weights(self) -> LinearWeights:
        """Weights of the head, read or downloaded at the first access; random for a backbone of random weights.

        Raises:
            UserError: if the file is missing, or holds no linear head of 1000 classes with finite weights.
        """
        if self.settings.checkpoint is None:
            return read_head(self._download(), self._file) if self.backbone.pretrained else self._random()
        return read_head(read_state_dict(self.settings.checkpoint), Path(self.settings.checkpoint).name)

    def check(self) -> None:
        """Raise UserError if the backbone has no CLS token and patches of the head's width, or there are no weights."""
        backbone = self.backbone
        if backbone.final_tokens is None or backbone.n_prefix_tokens == 0:
            raise UserError(
                f"The head {self.name} reads the CLS and patch tokens after the final norm, which {backbone.name} does "
                'not have: use head = "probe".'
            )
        if self.settings.checkpoint is None and backbone.name not in ARCHITECTURES:
            raise UserError(
                f"There is no published linear head for {backbone.name}, only for {', '.join(ARCHITECTURES)}. Give a "
                'file: head_settings = { checkpoint = "FILE" }. Or use head = "probe".'
            )
        width, token_width = self.weights.weight.shape[1], self._token_width
        if width != 2 * token_width:
            raise UserError(
                f"The linear head {self._file} reads {width} features, but {backbone.name} has {token_width} per "
                f"token, so its head must read {2 * token_width}: CLS and the mean of the patches. "
                f"{_remedy_for_width(width, token_width)}"
            )

    def notes(self) -> list[str]:
        notes = super().notes()
        if self.backbone.name not in ARCHITECTURES or not self.backbone.pretrained:
            notes.append(
                f"DINOv2's published linear heads belong to its original weights, which {self.backbone.name} may not "
                "have: the accuracy means something only if the head was trained on the features of these weights."
            )
        return notes

    def identity(self) -> dict[str, Any]:
        return {"kind": self.name, "weights": weights_hash(*self.weights), "classes": self.classes_identity()}

    def make(
        self, cache: Path, *, batch_size: int = 32, progress: Progress = no_progress, report: BrokenReport | None = None
    ) -> Head:
        weight, bias = (tensor.to(self.backbone.device) for tensor in self.weights)
        return TokensHead(self.backbone, self.class_index, weight, bias)

    @property
    def _file(self) -> str:
        """Name of the file, for messages."""
        file = self.settings.checkpoint
        return f"{self.backbone.name}_linear_head.pth" if file is None else Path(file).name

    @cached_property
    def _token_width(self) -> int:
        """Number of features d per token after the final norm.

        Raises:
            UserError: if there are no tokens behind the prefix.
        """
        backbone = self.backbone
        with torch.inference_mode():
            tokens = _final_tokens(backbone, backbone.blank_images(1))
        if tokens.ndim != 3 or tokens.shape[1] <= backbone.n_prefix_tokens:
            raise UserError(
                f"The final tokens of {backbone.name} have the shape {tuple(tokens.shape)} for one image and "
                f"{backbone.n_prefix_tokens} prefix tokens: the head {self.name} needs patches after CLS."
            )
        return int(tokens.shape[-1])

    def _random(self) -> LinearWeights:
        width = 2 * self._token_width
        generator = torch.Generator().manual_seed(0)
        return LinearWeights(torch.randn(N_CLASSES, width, generator=generator) / width**0.5, torch.zeros(N_CLASSES))

    def _download(self) -> dict[str, Tensor]:
        url = URL.format(name=self.backbone.name)
        try:
            return torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, weights_only=True)
        except Exception as error:  # urllib, socket and http.client each have their own
            raise UserError(
                f"The linear head of {self.backbone.name} could not be downloaded from {HOST} ({first_line(error)}). "
                f'Give a local {self._file}: head_settings = {{ checkpoint = "FILE" }}.'
            ) from error


def read_head(state: Mapping[str, Tensor], file: str) -> LinearWeights:
    """Return the weights of a linear head in a state dict.

    Args:
        file: name of the file, for messages.

    Raises:
        UserError: if ``weight`` or ``bias`` is missing, a shape is wrong, or a value is not finite.
    """
    prefix = next((prefix for prefix in _PREFIXES if f"{prefix}weight" in state and f"{prefix}bias" in state), None)
    if prefix is None:
        first = ", ".join(list(state)[:3]) + (", ..." if len(state) > 3 else "")
        raise UserError(f"{file!r} is no linear head: it must hold 'weight' and 'bias', and it holds {first}.")
    weight, bias = (state[f"{prefix}{name}"].float() for name in ("weight", "bias"))
    if weight.ndim != 2 or len(weight) != N_CLASSES or bias.shape != (N_CLASSES,):
        raise UserError(
            f"{file!r} is no linear head of ImageNet-1k: weight {tuple(weight.shape)} and bias {tuple(bias.shape)}, "
            f"but they must be ({N_CLASSES}, twice the width) and ({N_CLASSES},)."
        )
    if not all(torch.isfinite(tensor).all() for tensor in (weight, bias)):
        raise UserError(f"The weights of the linear head {file!r} are not finite (NaN or infinity): download it again.")
    return LinearWeights(weight.contiguous(), bias.contiguous())


def _remedy_for_width(width: int, token_width: int) -> str:
    """Return a sentence for the published head of the last four layers, which is the other one of each size."""
    if width != 5 * token_width:
        return "Use the head of this backbone's size."
    return "This is the head of the last four layers (linear4_head.pth): use the one-layer head, linear_head.pth."
