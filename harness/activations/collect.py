"""Sampling of the probing set: images run through the backbone, and a few tokens of each are kept on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.activations.cached import read_cached
from harness.activations.center_crops import CropFolder, center_batches
from harness.activations.site import Site
from harness.activations.token_set import FORMAT, TokenSet, TokenWriter, check_disk, sample
from harness.backbones.base import Backbone, Preprocessing
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport, ImageBatch, batches, crop_generator
from harness.identity import digest, seed_of
from methods.base import Progress, Reads, no_progress


class ProbingPlan(NamedTuple):
    """Sampling plan of a token set. Together with backbone, site and images it determines the token set to the bit."""

    crops: int
    """Random-resized crops per image; 0 takes the centre crop alone."""
    tokens_per_image: int | None
    """Tokens sampled from each crop, without replacement; None takes all."""
    dtype: str
    """"float32" or "float16", on disk."""
    seed: int
    """Token seed. The crops do not depend on it: token seeds differ in the sampled tokens, as in the paper."""

    def views(self) -> int:
        return max(1, self.crops)


def fingerprint(backbone: Backbone, site: Site, images: ImageSet, plan: ProbingPlan) -> str:
    """Return the identity of the token set that :func:`collect` makes from these arguments."""
    source = {**backbone.identity(), **site.identity(), "images": images.fingerprint}
    return digest({"format": FORMAT, **source, "plan": plan._asdict()}, length=24)


def collect(
    backbone: Backbone,
    site: Site,
    images: ImageSet,
    plans: Sequence[ProbingPlan],
    cache: Path,
    *,
    batch_size: int = 32,
    progress: Progress = no_progress,
    report: BrokenReport | None = None,
) -> list[TokenSet]:
    """Collect one token set per plan.

    Plans with the same crops share one pass over the images. Token sets that are already in ``cache`` are not made
    again.
    """
    report = BrokenReport() if report is None else report
    fingerprints = [fingerprint(backbone, site, images, plan) for plan in plans]
    sets: dict[str, TokenSet] = {}
    missing: dict[str, ProbingPlan] = {}
    for name, plan in zip(fingerprints, plans, strict=True):
        cached = read_cached(cache / "tokens" / name, _read, images, report)
        if cached is None:
            missing[name] = plan
        else:
            sets[name] = cached
    for crops in sorted({plan.crops for plan in missing.values()}):
        same_crops = {name: plan for name, plan in missing.items() if plan.crops == crops}
        description = {"backbone": backbone.name, "site": site.path, "images": images.name, "n_images": len(images)}
        n_tokens = site.capture(backbone.features, backbone.blank_images(1)).a.shape[1]
        per_image = sum(plan.views() * min(n_tokens, plan.tokens_per_image or n_tokens) for plan in same_crops.values())
        dtype = max(plan.dtype for plan in same_crops.values())
        needed = check_disk(cache, len(images) * per_image, list(site.token_widths.values()), dtype)
        writers = {
            name: TokenWriter(cache / "tokens" / name, dtype=plan.dtype, description={**description, **plan._asdict()})
            for name, plan in same_crops.items()
        }
        try:
            outputs = [(plan, writers[name]) for name, plan in same_crops.items()]
            views = _views(backbone, images, crops, CropFolder.of(cache, needed), batch_size, report)
            _one_pass(backbone, site, images, views, outputs, progress)
            skipped = report.of(images)
            sets.update({name: writer.finish(skipped) for name, writer in writers.items()})
        finally:
            for name, writer in writers.items():
                if name not in sets:
                    writer.discard()
    return [sets[name] for name in fingerprints]


def _read(folder: Path) -> tuple[TokenSet, Mapping[str, str]]:
    tokens = TokenSet(folder)
    tokens.check()
    return tokens, tokens.meta["skipped"]


def _one_pass(
    backbone: Backbone,
    site: Site,
    images: ImageSet,
    viewed: Iterator[ImageBatch],
    outputs: Sequence[tuple[ProbingPlan, TokenWriter]],
    progress: Progress,
) -> None:
    """Run the images' views through the network once, and write the tokens of plans with the same crops."""
    views = outputs[0][0].views()
    done = 0
    for batch in viewed:
        captured = site.capture(backbone.features, batch.images.flatten(0, 1).to(backbone.device))
        if not done:
            site.check(captured)
        n_tokens = captured.a.shape[1]
        positions = site.positions(n_tokens).numpy()
        index = np.repeat(batch.index.numpy(), views)
        fields: dict[Reads, Tensor] = {"input": captured.q, "output": captured.a}
        for plan, writer in outputs:
            samples = _samples(plan, batch.index.tolist(), n_tokens)
            image = index.repeat([len(rows) for rows in samples])
            flat = torch.cat([rows + view * n_tokens for view, rows in enumerate(samples)]).to(backbone.device)
            writer.add(
                image,
                positions[torch.cat(samples).numpy()],
                images.labels[image],
                **{name: fields[name].flatten(0, 1)[flat] for name in site.fields},
            )
        done += len(batch.index)
        progress(done, len(images), "probing images")


def _samples(plan: ProbingPlan, image_indices: list[int], n_tokens: int) -> list[Tensor]:
    """Sample tokens of each view. Each view has its own random stream, so batches and order have no effect."""
    streams = (
        torch.Generator().manual_seed(seed_of("tokens", plan.seed, image, view))
        for image in image_indices
        for view in range(plan.views())
    )
    return [sample(n_tokens, plan.tokens_per_image, stream) for stream in streams]


def _views(
    backbone: Backbone, images: ImageSet, crops: int, folder: CropFolder, batch_size: int, report: BrokenReport
) -> Iterator[ImageBatch]:
    """Yield the views (B, views, 3, S, S) of the images: ``crops`` random ones, or the centre crop alone if it is 0."""
    preprocessing = backbone.preprocessing
    if crops:
        transform = partial(_random_views, preprocessing, crops)
        yield from batches(images, transform, batch_size=max(1, batch_size // crops), report=report)
        return
    for batch in center_batches(images, preprocessing, batch_size=batch_size, report=report, crops=folder):
        yield ImageBatch(batch.index, batch.images[:, None])


def _random_views(preprocessing: Preprocessing, crops: int, image: Image.Image, index: int) -> Tensor:
    """Return random crops (crops, 3, S, S) of an image."""
    generators = (crop_generator(0, index, crop) for crop in range(crops))
    return torch.stack([preprocessing.random_resized_crop(image, generator) for generator in generators])
