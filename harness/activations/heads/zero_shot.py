"""Zero-shot classification by the text tower of a two-tower model (CLIP, SigLIP)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import field_validator
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from harness.activations.cached import read_cached, save_cached
from harness.activations.heads import HEADS
from harness.activations.heads.base import Head, HeadKind, HeadSettings, HeadWeights, weights_hash
from harness.activations.zero_shot_prompts import IMAGES, MODEL, OPENAI, class_names_of, templates_of
from harness.backbones.base import Backbone
from harness.backbones.text_tower import CLIP_TEMPLATE, TextTower
from harness.datasets.loading import BrokenReport
from harness.errors import UserError
from harness.identity import digest, seed_of
from methods.base import Progress, no_progress

#: Increase when the computation changes: it is part of the identity of every cell with this head.
VERSION = 1
#: Texts embedded between two reports of progress.
_CHUNK = 1024
#: Largest difference of the components of two unit vectors that count as equal.
_SAME = 1e-6


@dataclass(frozen=True)
class ZeroShotHead(Head):
    """Head whose logits are ``scale * cos(project(features), text of the class) + bias``."""

    text: Tensor
    """(n_classes, e) unit vectors"""
    project: Callable[[Tensor], Tensor]
    scale: float
    bias: float

    def logits(self, features: Tensor) -> Tensor:
        images = normalize(self.project(features).float(), dim=-1)
        return self.scale * images @ self.text.to(images).T + self.bias

    def fingerprint(self) -> str:
        return weights_hash(self.text)


class ZeroShotSettings(HeadSettings):
    """Settings of zero-shot classification."""

    templates: Any = MODEL
    """``"model"`` (the model's own prompt), ``"openai"`` (CLIP's 80 for ImageNet), or templates with ``{}``"""
    class_names: Any = IMAGES
    """``"images"`` (names of the image set's classes), ``"openai"`` (CLIP's for ImageNet-1k), a list, a mapping of
    class to name, or a file: JSON with one of these, or one name per line"""

    @field_validator("templates")
    @classmethod
    def _texts(cls, templates: Any) -> Any:
        listed = isinstance(templates, list | tuple) and all(isinstance(text, str) for text in templates)
        if not listed and not isinstance(templates, str):
            raise ValueError(f'it must be "{MODEL}", "{OPENAI}", a template or a list of templates')
        if listed and len(set(templates)) < len(templates):
            raise ValueError("a template is listed twice")
        return templates if isinstance(templates, str) else tuple(templates)

    @field_validator("class_names")
    @classmethod
    def _names(cls, names: Any) -> Any:
        if not isinstance(names, str | list | tuple | dict):
            raise ValueError(f'it must be "{IMAGES}", "{OPENAI}", a list, a table {{ CLASS = "words" }} or a file')
        return names


@HEADS.register()
class ZeroShot(HeadKind):
    """Zero-shot classification: the nearest class name in the shared space of images and texts.

    A class is the normalised mean of the normalised embeddings of its prompts (Radford et al. 2021, section 3.1.4).
    """

    name = "zero_shot"
    description = "zero-shot classification by the text tower of CLIP or SigLIP"
    Settings = ZeroShotSettings

    @classmethod
    def needs(cls, backbone: str, settings: Mapping[str, Any], *, weights: bool = True) -> Sequence[HeadWeights]:
        if OPENAI not in (settings.get("templates"), settings.get("class_names")):
            return []
        installed = importlib.util.find_spec("open_clip") is not None
        missing = "the package open_clip_torch is not installed"
        remedy = 'pip install "disentanglement-harness[clip]"'
        return [HeadWeights(f"zero-shot prompts of {backbone}", installed, missing, None, remedy)]

    @cached_property
    def _tower(self) -> TextTower:
        load = self.backbone.text_tower
        if load is not None:
            return load()
        if not self.backbone.pretrained:
            return _random_tower(self.backbone)
        raise UserError(
            f"{self.backbone.name} has no text tower, so it cannot classify zero-shot: use a CLIP or SigLIP model "
            '(hf:OWNER/NAME or open_clip:NAME), or head = "probe".'
        )

    @cached_property
    def prompts(self) -> dict[str, list[str]]:
        """Class of the images -> its prompts, one per template."""
        templates = templates_of(self.settings.templates, self._tower.template)
        classes = self.probing.classes
        names = class_names_of(self.settings.class_names, classes)
        return {
            label: [template.replace("{}", name) for template in templates]
            for label, name in zip(classes, names, strict=True)
        }

    def check(self) -> None:
        if len(self.probing.classes) < 2:
            raise UserError(f"Zero-shot classification needs at least two classes, and {self.dataset} has fewer.")
        self._require_length()

    def notes(self) -> list[str]:
        first = next(iter(self.prompts.values()))
        others = f" and {len(first) - 1} more per class" if len(first) > 1 else ""
        notes = [f'{self.backbone.name}: zero-shot classification with prompts such as "{first[0]}"{others}.']
        texts = [prompts[0] for prompts in self.prompts.values()]
        if repeated := sorted({text for text in texts if texts.count(text) > 1}):
            notes.append(
                f"Several classes have the same published name ({'; '.join(repeated)}): only the first of them is ever "
                "predicted."
            )
        return notes

    @cached_property
    def _tokens(self) -> list[list[int]]:
        """Tokens of every class in the first and the longest template, and of every template; empty if unknown."""
        if self._tower.tokenize is None:
            return []
        return [list(ids) for ids in self._tower.tokenize(self._sample)]

    @cached_property
    def _sample(self) -> list[str]:
        rows = list(self.prompts.values())
        longest = max(range(len(rows[0])), key=lambda number: len(rows[0][number]))
        texts = [*(row[0] for row in rows), *(row[longest] for row in rows), *max(rows, key=lambda row: len(row[0]))]
        return list(dict.fromkeys(texts))

    def _require_length(self) -> None:
        """Raise UserError if a prompt is longer than the text tower reads: its end would be cut off."""
        limit = self._tower.length
        for text, ids in zip(self._sample, self._tokens, strict=False):
            if limit is not None and len(ids) > limit:
                raise UserError(
                    f"The prompt {text!r} has {len(ids)} tokens, and the text tower of {self.backbone.name} reads "
                    f"{limit}: shorten the class name or the template."
                )

    @cached_property
    def _identity(self) -> dict[str, Any]:
        prompts = digest({"prompts": list(self.prompts.items())})
        tokens = digest({"tokens": self._tokens})
        text = self._tower.fingerprint()
        return {"kind": self.name, "version": VERSION, "text": text, "prompts": prompts, "tokens": tokens}

    def identity(self) -> dict[str, Any]:
        return self._identity

    def make(
        self, cache: Path, *, batch_size: int = 32, progress: Progress = no_progress, report: BrokenReport | None = None
    ) -> Head:
        tower = self._tower
        file = cache / "heads" / f"{digest(self._identity)}.safetensors"
        text = read_cached(file, _read, self.probing, BrokenReport())
        if text is None or len(text) != len(self.prompts):
            text = _class_embeddings(tower, list(self.prompts.values()), progress)
            _require_different(text, self.prompts)
            save_cached({"text": text}, file)
        device = self.backbone.device
        return ZeroShotHead(self.backbone, self.class_index, text.to(device), tower.project, tower.scale, tower.bias)

    def release(self) -> None:
        vars(self).pop("_tower", None)


def _random_tower(backbone: Backbone) -> TextTower:
    """Return a tower of random embeddings, for timing a backbone with random weights."""
    with torch.inference_mode():
        width = backbone.features(backbone.blank_images(1)).shape[1]

    def embed(texts: Sequence[str]) -> Tensor:
        seeds = (torch.Generator().manual_seed(seed_of("zero shot", text)) for text in texts)
        return torch.stack([torch.randn(width, generator=generator) for generator in seeds])

    return TextTower(
        embed=embed,
        project=lambda features: features,
        scale=100.0,
        bias=0.0,
        template=CLIP_TEMPLATE,
        weights={},
    )


def _class_embeddings(tower: TextTower, prompts: Sequence[Sequence[str]], progress: Progress) -> Tensor:
    """Return the unit vectors (n_classes, e) of the classes: means over their prompts, normalised before and after."""
    n_templates = len(prompts[0])
    per_step = max(1, _CHUNK // n_templates)
    rows = []
    for start in range(0, len(prompts), per_step):
        part = prompts[start : start + per_step]
        embedded = normalize(tower.embed([text for texts in part for text in texts]), dim=-1)
        rows.append(normalize(embedded.reshape(len(part), n_templates, -1).mean(1), dim=-1))
        progress(min(start + per_step, len(prompts)), len(prompts), "class names for zero-shot classification")
    text = torch.cat(rows)
    if not bool(torch.isfinite(text).all()):
        raise UserError("The text tower gives NaN or infinite embeddings of the class names: check its weights.")
    return text.contiguous()


def _require_different(text: Tensor, prompts: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError if classes of different prompts have the same embedding.

    A tokenizer without their words would give that.
    """
    classes = list(prompts)
    for first in range(len(text) - 1):
        equal = torch.nonzero((text[first + 1 :] - text[first]).abs().amax(1) < _SAME).flatten() + first + 1
        for second in map(int, equal):
            if prompts[classes[first]] == prompts[classes[second]]:
                continue  # equal names in a published list
            raise UserError(
                f"The text tower gives the same embedding for the classes {classes[first]!r} and {classes[second]!r}, "
                "so zero-shot classification cannot tell them apart: check the tokenizer of the model, or give other "
                "names in head_settings.class_names."
            )


def _read(file: Path) -> tuple[Tensor, Mapping[str, str]]:
    return load_file(file)["text"], {}
