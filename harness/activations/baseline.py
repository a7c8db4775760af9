"""Baseline: the unmodified network on the evaluation split, computed once, against which every method is measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.baseline_passes import LOGITS, OUTCOMES, STATES, TOKENS, BaselinePasses
from harness.activations.cached import read_cached
from harness.activations.center_crops import CropFolder
from harness.activations.external_images import ExternalImages
from harness.activations.forward import Passes
from harness.activations.heads.base import Head
from harness.activations.prefix_cache import READ_AHEAD
from harness.activations.probing_images import ProbingImages
from harness.activations.site import Site
from harness.activations.token_set import TokenSet, check_disk
from harness.atomic import create_partial, remove, replace_atomically
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.identity import digest
from methods.base import Progress, no_progress
from methods.training.read_ahead import ahead

#: Increase when the computation of the baseline changes: older baselines on disk are then not read.
VERSION = 2


class AblationFloor(NamedTuple):
    """Scores of the network with the layer's output replaced by a constant that carries no image information."""

    accuracy: float
    """NaN if the head's classes are not the classes of the images"""
    agreement: float


class FloorOutcomes(NamedTuple):
    """Outcome of each image of the evaluation split for one of the floors; False for images that cannot be read."""

    right: np.ndarray
    """(n,) bool: labelled, and classified correctly"""
    unchanged: np.ndarray
    """(n,) bool: the prediction of the unmodified network"""


@dataclass(frozen=True)
class Baseline:
    """Method-independent results of one (backbone, site, evaluation split, head)."""

    passes: Passes
    """runs the split through the network"""
    images: ImageSet
    """the evaluation split"""
    index: np.ndarray
    """(n_images,) int64: the images of the split that could be read, ascending"""
    n_tokens: int
    """T, tokens per image"""
    tokens: TokenSet
    """the layer's original output of all tokens; row ``i * T + t`` is token t of the i-th readable image"""
    logits: np.ndarray
    """(n_images, n_classes) float32 of the unmodified network, memory-mapped"""
    head: Head
    floors: dict[str, AblationFloor]
    """"original", "zero" (the layer's output set to 0) and "mean" (to its mean over the split's tokens)"""
    floor_outcomes: dict[str, FloorOutcomes]
    """outcomes of the images behind :attr:`floors`"""
    null_similarity: float
    """mean cosine between output tokens of different images"""
    top_images: int
    """images kept per unit"""
    probing: ProbingImages | None = None
    """images on which metrics may choose units and fit: of the set of the fit, on a further set too"""
    first_set: ProbingImages | None = None
    """evaluation images of the set of the fit, if the split is of a further set"""
    external: ExternalImages | None = None
    """embeddings of the split by another backbone"""

    @property
    def n_images(self) -> int:
        return len(self.index)

    def rows(self, image: Tensor, token: Tensor) -> Tensor:
        """Return the rows of :attr:`tokens` for image indices of the split and token numbers of equal shape."""
        ordinal = torch.from_numpy(np.searchsorted(self.index, image.numpy()))
        return ordinal * self.n_tokens + token

    def outputs(self, images: np.ndarray | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the stored outputs of the unmodified layer, without running the network.

        Args:
            images: (n,) ascending image indices of the split; default: all. Those that cannot be read are left out.

        Yields:
            Image indices (B,) and outputs (B, T, d_out) as float32 on the device of the backbone. With stored float16
            each value is rounded to 11 bits, a relative error of at most 0.0005.
        """
        rows = np.arange(self.n_images) if images is None else np.flatnonzero(np.isin(self.index, images))
        size = self.passes.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        # A thread reads the next batch while this one is computed.
        with closing(ahead((self._outputs(batch) for batch in batches), READ_AHEAD)) as read:
            for batch, a in zip(batches, read, strict=True):
                yield torch.from_numpy(self.index[batch]), a.to(self.passes.backbone.device)

    def _outputs(self, rows: np.ndarray) -> Tensor:
        """Return the stored outputs (B, T, d_out) of some rows of the index, on the CPU."""
        tokens = (rows[:, None] * self.n_tokens + np.arange(self.n_tokens)).ravel()
        a: Tensor = self.tokens.gather("output", tokens).unflatten(0, (len(rows), self.n_tokens))
        return a

    def clean_logits(self, index: Tensor) -> Tensor:
        """Return the logits (B, n_classes) of the unmodified network for image indices (B,)."""
        return torch.from_numpy(np.array(self.logits[np.searchsorted(self.index, index.numpy())]))


def make_baseline(
    backbone: Backbone,
    site: Site,
    images: ImageSet,
    head: Head,
    cache: Path,
    *,
    top_images: int,
    head_identity: str,
    dtype: str = "float32",
    batch_size: int = 32,
    progress: Progress = no_progress,
    report: BrokenReport | None = None,
) -> Baseline:
    """Measure the unmodified network on the evaluation split, or read the measurement of an earlier run.

    There are three passes: the original one, and one each with the layer's output set to zero and to its mean. A
    baseline on disk is read if it is complete and valid. A damaged one is measured again, and so is one whose broken
    images can be read now.

    Args:
        head_identity: identity of the head (its kind, and the data that a probe was fitted on).
        dtype: dtype of the stored outputs, "float32" or "float16".

    Raises:
        UserError: if the disk has no room for the split's tokens.
    """
    report = BrokenReport() if report is None else report
    source = {**backbone.identity(), **site.identity(), "images": images.fingerprint}
    fingerprint = digest({"baseline": VERSION, **source, "head": head_identity, "dtype": dtype}, length=24)
    folder = cache / "baselines" / fingerprint
    passes = Passes(backbone, site, images, batch_size, head.features, crops=CropFolder.of(cache))

    def read(complete: Path) -> tuple[Baseline, Mapping[str, str]]:
        # A probe is fitted again when its broken images can be read: the stored logits are then of another head.
        # Not checked below: another process may have finished first, with a probe that differs in the last bits.
        if json.loads((complete / "meta.json").read_text()).get("head", head.fingerprint()) != head.fingerprint():
            raise ValueError("measured with another head")
        baseline = _read(complete, passes, head, top_images)
        return baseline, baseline.tokens.meta["skipped"]

    cached = read_cached(folder, read, images, report)
    if cached is not None:
        return cached
    partial = create_partial(folder, folder=True)
    try:
        n_tokens = site.capture(backbone.features, backbone.blank_images(1)).a.shape[1]
        needed = check_disk(cache, len(images) * n_tokens, [site.d_out], dtype)
        measured = replace(passes, crops=CropFolder.of(cache, needed))
        BaselinePasses(measured, head, progress, report).write(partial, dtype)
        replace_atomically(partial, folder)
    finally:
        remove(partial)
    return _read(folder, passes, head, top_images)


def _read(folder: Path, passes: Passes, head: Head, top_images: int) -> Baseline:
    """Read the files that :class:`BaselinePasses` wrote. Raise one of DAMAGE if they do not fit together."""
    meta = json.loads((folder / "meta.json").read_text())
    # Mapped first: a header that declares more than the file holds is then an error, not an allocation.
    index = np.array(np.load(folder / "index.npy", mmap_mode="r", allow_pickle=False))
    tokens = TokenSet(folder / TOKENS)
    tokens.check()
    if tokens.n != len(index) * meta["n_tokens"]:
        raise ValueError("tokens and images do not fit together")
    return Baseline(
        passes=passes.resuming_from(folder / STATES, meta["states"], index),
        images=passes.images,
        index=index,
        n_tokens=meta["n_tokens"],
        tokens=tokens,
        logits=np.memmap(folder / LOGITS, np.float32, mode="r", shape=(len(index), meta["n_classes"])),
        head=head,
        floors={name: AblationFloor(*map(_number, pair)) for name, pair in meta["floors"].items()},
        floor_outcomes=_floor_outcomes(folder / OUTCOMES, list(meta["floors"]), index, len(passes.images)),
        null_similarity=_number(meta["null_similarity"]),
        top_images=min(top_images, len(passes.images)),
    )


def _floor_outcomes(file: Path, names: list[str], index: np.ndarray, n: int) -> dict[str, FloorOutcomes]:
    """Read the outcomes of the readable images ``index``, as arrays over all ``n`` images of the split."""
    outcomes = {}
    with np.load(file, allow_pickle=False) as stored:
        for name in names:
            sides = np.zeros((2, n), dtype=bool)
            sides[:, index] = stored[name]
            outcomes[name] = FloorOutcomes(*sides)
    return outcomes


def _number(value: float | None) -> float:
    """Return a number of ``meta.json``, which holds null for NaN."""
    return math.nan if value is None else value
