"""Sampling of the probing set: images run through the backbone, and a few tokens of each are kept on disk."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.activations.cached import read_cached
from harness.activations.center_crops import CropFolder
from harness.activations.probing_features import FeatureWriter
from harness.activations.probing_pass import TokenOutput, run_pass
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.activations.token_set import TokenSet, check_disk
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.identity import digest
from methods.base import Progress, no_progress
from results.byte_sizes import size_text


class SitePlans(NamedTuple):
    """Site with the plans of its token sets."""

    site: Site
    plans: tuple[ProbingPlan, ...]


def fingerprint(backbone: Backbone, site: Site, images: ImageSet, plan: ProbingPlan) -> str:
    """Return the identity of the token set that :func:`collect` makes from these arguments."""
    source = {**backbone.identity(), **site.identity(), "images": images.fingerprint}
    # Not the version of the files: the rows of a set are the same in each.
    return digest({"format": 1, **source, "plan": plan._asdict()}, length=24)


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
    ahead: Sequence[SitePlans] = (),
    features: bool = False,
) -> list[TokenSet]:
    """Collect one token set per plan.

    Plans with the same crops share one pass over the images. Token sets that are already in ``cache`` are not made
    again.

    Args:
        ahead: token sets of the same backbone and images that are needed later. A pass that is made for ``plans`` also
            makes those of them that have the same crops, are not in ``cache``, and have room on the disk. Each is equal
            to the bit to that of a separate pass. One whose activations cannot be stored is left out; the error is
            raised when it is collected for itself.
        features: True to let the first pass also write the features of the images
            (:mod:`harness.activations.probing_features`).

    Raises:
        UserError: if no image can be read, the disk has no room, or the activations of ``site`` cannot be stored.
    """
    report = BrokenReport() if report is None else report
    targets = [_target(backbone, site, images, plan, cache) for plan in plans]
    sets: dict[Path, TokenSet] = {}
    missing: dict[Path, TokenOutput] = {}
    for target, plan in zip(targets, plans, strict=True):
        cached = read_cached(target, _read, images, report)
        if cached is None:
            missing[target] = TokenOutput(site, plan, target)
        else:
            sets[target] = cached
    for crops in sorted({output.plan.crops for output in missing.values()}):
        wanted = [output for output in missing.values() if output.plan.crops == crops]
        n_tokens = sum(_tokens(backbone, images, output) for output in wanted)
        dtype = max(output.plan.dtype for output in wanted)
        needed = check_disk(cache, n_tokens, list(site.token_widths.values()), dtype)
        later = _ahead(backbone, images, ahead, wanted, cache)
        outputs = [*wanted, *_fitting(later, backbone, images, cache, needed)]
        collector = FeatureWriter(backbone, images, batch_size) if features else None
        features = False
        try:
            for output in outputs:
                description = {"backbone": backbone.name, "images": images.name, "n_images": len(images)}
                output.open(description, _tokens(backbone, images, output))
            run_pass(
                backbone,
                images,
                crops,
                outputs,
                collector,
                folder=CropFolder.of(cache, sum(_bytes(backbone, images, output) for output in outputs)),
                batch_size=batch_size,
                progress=progress,
                report=report,
            )
            skipped = report.of(images)
            # The features first: a token set in the cache says that the pass has been made.
            if collector is not None:
                collector.finish(cache, report)
            for output in outputs:
                tokens = output.finish(skipped)
                if tokens is not None:
                    sets[output.target] = tokens
        finally:
            for output in outputs:
                output.discard()
    return [sets[target] for target in targets]


def _target(backbone: Backbone, site: Site, images: ImageSet, plan: ProbingPlan, cache: Path) -> Path:
    return cache / "tokens" / fingerprint(backbone, site, images, plan)


def _read(folder: Path) -> tuple[TokenSet, Mapping[str, str]]:
    tokens = TokenSet(folder)
    tokens.check()
    return tokens, tokens.meta["skipped"]


def _ahead(
    backbone: Backbone, images: ImageSet, ahead: Sequence[SitePlans], wanted: Sequence[TokenOutput], cache: Path
) -> list[TokenOutput]:
    """Return the token sets of ``ahead`` with the crops of ``wanted`` that are neither in the cache nor wanted."""
    crops, taken = wanted[0].plan.crops, {output.target for output in wanted}
    outputs = {}
    for site, plans in ahead:
        for plan in plans:
            target = _target(backbone, site, images, plan, cache)
            if plan.crops == crops and target not in taken and not target.exists():
                outputs[target] = TokenOutput(site, plan, target, required=False)
    return list(outputs.values())


def _fitting(
    outputs: Sequence[TokenOutput], backbone: Backbone, images: ImageSet, cache: Path, needed: int
) -> Iterator[TokenOutput]:
    """Yield the token sets for which the disk has room beside ``needed`` bytes, and warn of the others."""
    free = shutil.disk_usage(cache).free - needed
    left_out = 0
    for output in outputs:
        size = _bytes(backbone, images, output)
        if size <= free:
            free -= size
            yield output
        else:
            left_out += 1
    if left_out:
        sets = "1 token set" if left_out == 1 else f"{left_out} token sets"
        warnings.warn(
            f"{sets} of {backbone.name} {'is' if left_out == 1 else 'are'} left for a further pass over the images: "
            f"there is no room at {str(cache)!r}, where {size_text(free)} remain. Give another folder with --cache.",
            RuntimeWarning,
            stacklevel=2,
        )


def _bytes(backbone: Backbone, images: ImageSet, output: TokenOutput) -> int:
    """Return the size of a token set on disk, without its index."""
    n, widths = _tokens(backbone, images, output), output.site.token_widths.values()
    return n * sum(widths) * np.dtype(output.plan.dtype).itemsize


def _tokens(backbone: Backbone, images: ImageSet, output: TokenOutput) -> int:
    n_tokens = output.site.capture(backbone.features, backbone.blank_images(1)).a.shape[1]
    plan = output.plan
    return len(images) * plan.views() * min(n_tokens, plan.tokens_per_image or n_tokens)
