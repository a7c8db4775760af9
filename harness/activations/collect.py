"""Sampling of the probing set: images run through the backbone, and a few tokens of each are kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.activations.site import Site
from harness.activations.token_set import FORMAT, TokenSet, TokenWriter, check_disk, existing, sample
from harness.atomic import remove
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport, batches, crop_generator, still_unreadable
from harness.identity import digest, seed_of
from methods.base import Progress, no_progress


class ProbingPlan(NamedTuple):
    """Sampling plan of a token set. Together with backbone, site and images it determines the token set to the bit."""

    crops: int
    """Random-resized crops per image; 0 takes the centre crop alone."""
    tokens_per_image: int | None
    """Tokens kept of each crop, drawn without replacement; None keeps all."""
    dtype: str
    """"float32" or "float16", on disk."""
    seed: int
    """Token seed. The crops do not depend on it: token seeds differ in the tokens that are kept, as in the paper."""

    def views(self) -> int:
        return max(1, self.crops)


def fingerprint(backbone: Backbone, site: Site, images: ImageSet, plan: ProbingPlan) -> str:
    """Return the identity of the token set that :func:`collect` makes from these arguments."""
    return digest(
        {
            "format": FORMAT,
            "weights": backbone.fingerprint(),
            "site": site.path,
            "preprocessing": backbone.preprocessing.canonical(),
            "images": images.fingerprint,
            "plan": plan._asdict(),
        },
        length=24,
    )


def collect(
    backbone: Backbone,
    site: Site,
    images: ImageSet,
    plans: Sequence[ProbingPlan],
    cache: Path,
    *,
    batch_size: int = 32,
    device: str = "cpu",
    progress: Progress = no_progress,
    report: BrokenReport | None = None,
) -> list[TokenSet]:
    """Collect one token set per plan.

    Plans with the same crops share one pass over the images. Token sets that are already in ``cache`` are not made
    again.
    """
    report = BrokenReport() if report is None else report
    prints = [fingerprint(backbone, site, images, plan) for plan in plans]
    found: dict[str, TokenSet] = {}
    for name in prints:
        tokens = existing(cache / "tokens" / name)
        if tokens is not None and still_unreadable(images, tokens.meta["skipped"], report):
            found[name] = tokens
        elif tokens is not None:
            remove(tokens.folder)
    missing = {name: plan for name, plan in zip(prints, plans, strict=True) if name not in found}
    for crops in sorted({plan.crops for plan in missing.values()}):
        wanted = {name: plan for name, plan in missing.items() if plan.crops == crops}
        description = {"backbone": backbone.name, "site": site.path, "images": images.name, "n_images": len(images)}
        views = sum(plan.views() * _tokens_a_view(backbone, site, plan, device) for plan in wanted.values())
        check_disk(cache, len(images) * views, [site.d_in, site.d_out], max(plan.dtype for plan in wanted.values()))
        writers = {
            name: TokenWriter(cache / "tokens" / name, dtype=plan.dtype, description={**description, **plan._asdict()})
            for name, plan in wanted.items()
        }
        try:
            _one_pass(backbone, site, images, crops, wanted, writers, batch_size, device, progress, report)
            names = {record.name for record in images.records}
            skipped = {broken.name: broken.reason for broken in report if broken.name in names}
            found.update({name: writer.finish(skipped) for name, writer in writers.items()})
        finally:
            for name, writer in writers.items():
                if name not in found:
                    writer.discard()
    return [found[name] for name in prints]


def _one_pass(
    backbone: Backbone,
    site: Site,
    images: ImageSet,
    crops: int,
    plans: dict[str, ProbingPlan],
    writers: dict[str, TokenWriter],
    batch_size: int,
    device: str,
    progress: Progress,
    report: BrokenReport,
) -> None:
    labels = images.labels
    views = max(1, crops)
    done = 0
    per_batch = max(1, batch_size // views)
    transform = _transform(backbone, crops)
    for batch in batches(images, transform, batch_size=per_batch, report=report):
        captured = site.capture(backbone.features, batch.images.flatten(0, 1).to(device))
        if not done:
            site.check_linear(captured)
        n_tokens = captured.a.shape[1]
        positions = site.positions(n_tokens).numpy()
        index = np.repeat(batch.index.numpy(), views)
        for name, plan in plans.items():
            kept = _kept(plan, batch.index.tolist(), views, n_tokens)
            view = np.repeat(np.arange(len(index)), [len(rows) for rows in kept])
            flat = torch.cat([rows + n * n_tokens for n, rows in enumerate(kept)]).to(device)
            writers[name].add(
                index[view],
                positions[torch.cat(kept).numpy()],
                labels[index[view]],
                input=captured.q.flatten(0, 1)[flat],
                output=captured.a.flatten(0, 1)[flat],
            )
        done += len(batch.index)
        progress(done, len(images), "probing images")


def _tokens_a_view(backbone: Backbone, site: Site, plan: ProbingPlan, device: str) -> int:
    blank = torch.zeros(1, 3, *[backbone.preprocessing.size] * 2, device=device)
    n_tokens = site.capture(backbone.features, blank).a.shape[1]
    return n_tokens if plan.tokens_per_image is None else min(n_tokens, plan.tokens_per_image)


def _kept(plan: ProbingPlan, image_indices: list[int], views: int, n_tokens: int) -> list[Tensor]:
    """Draw the tokens kept of each view. Each view has its own random stream, so batches and order have no effect."""
    kept = []
    for image in image_indices:
        for view in range(views):
            generator = torch.Generator().manual_seed(seed_of("tokens", plan.seed, image, view))
            kept.append(sample(n_tokens, plan.tokens_per_image, generator))
    return kept


def _transform(backbone: Backbone, crops: int) -> Any:
    """Return a transform of a PIL image and its index to (views, 3, S, S)."""
    preprocessing = backbone.preprocessing

    def views(image: Image.Image, index: int) -> Tensor:
        if crops == 0:
            return preprocessing.center(image)[None]
        return torch.stack(
            [preprocessing.random_resized_crop(image, crop_generator(0, index, crop)) for crop in range(crops)]
        )

    return views
