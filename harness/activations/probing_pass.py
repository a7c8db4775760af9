"""One pass of the probing images through a backbone: token sets of several sites and seeds, and a head's features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.activations.capture import capture_sites
from harness.activations.center_crops import CropFolder, center_batches
from harness.activations.probing_features import FeatureWriter
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Captured, Site
from harness.activations.token_set import TokenSet, sample
from harness.activations.token_writer import TokenWriter
from harness.backbones.base import Backbone, Preprocessing
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport, ImageBatch, batches, crop_generator
from harness.errors import UserError
from harness.identity import seed_of
from methods import numerics
from methods.base import Progress, Reads

#: Returns the tokens of each view of a batch, (m,) indices below the given number of tokens, that a plan samples.
Samples = Callable[[ProbingPlan, int], list[Tensor]]


class TokenOutput:
    """Token set that a pass makes.

    Args:
        site: site of its tokens.
        plan: sampling of its tokens.
        target: folder of the token set.
        required: False for one that is left out if its tokens cannot be stored.
    """

    def __init__(self, site: Site, plan: ProbingPlan, target: Path, *, required: bool = True) -> None:
        self.site = site
        self.plan = plan
        self.target = target
        self.required = required
        self._writer: TokenWriter | None = None

    def open(self, description: dict[str, Any], expected: int) -> None:
        """Create the files of about ``expected`` rows; ``description`` is stored with the token set."""
        description = {**description, "site": self.site.path, **self.plan._asdict()}
        self._writer = TokenWriter(self.target, dtype=self.plan.dtype, description=description, expected=expected)

    def add(self, images: ImageSet, batch: Tensor, captured: Captured, samples: Samples, *, is_first: bool) -> None:
        """Append the sampled tokens of a batch.

        Args:
            images: probing images.
            batch: (B,) int64, positions of the batch in them.
            captured: q and a (B * views, T, d) of their views, those of one image after the other.
            samples: samples of the batch.
            is_first: True for the first batch, on which the site is checked.

        Raises:
            UserError: if a required token set cannot be stored.
        """
        if self._writer is None:
            return
        try:
            if is_first:
                self.site.check(captured)
            self._add(self._writer, images, batch, captured, samples)
        except UserError:
            if self.required:
                raise
            self.discard()

    def finish(self, skipped: dict[str, str]) -> TokenSet | None:
        """Complete the token set, which lacks the images ``skipped``; None if it was left out."""
        writer, self._writer = self._writer, None
        return None if writer is None else writer.finish(skipped)

    def discard(self) -> None:
        """Remove the files, unless the token set is complete."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _add(self, writer: TokenWriter, images: ImageSet, batch: Tensor, captured: Captured, samples: Samples) -> None:
        n_tokens = captured.a.shape[1]
        positions = self.site.positions(n_tokens).numpy()
        chosen = samples(self.plan, n_tokens)
        n_rows = [len(rows) for rows in chosen]
        image = np.repeat(batch.numpy(), self.plan.views()).repeat(n_rows)
        view = np.tile(np.arange(self.plan.views()), len(batch)).repeat(n_rows)
        flat = torch.cat([rows + view * n_tokens for view, rows in enumerate(chosen)]).to(captured.a.device)
        fields: dict[Reads, Tensor] = {"input": captured.q, "output": captured.a}
        writer.add(
            image,
            positions[torch.cat(chosen).numpy()],
            images.labels[image],
            view=view,
            **{name: fields[name].flatten(0, 1)[flat] for name in self.site.fields},
        )


def run_pass(
    backbone: Backbone,
    images: ImageSet,
    crops: int,
    outputs: Sequence[TokenOutput],
    features: FeatureWriter | None,
    *,
    folder: CropFolder,
    batch_size: int,
    progress: Progress,
    report: BrokenReport,
) -> None:
    """Run the images through the network once, and add their tokens to ``outputs`` and their features to ``features``.

    Args:
        crops: number of random crops per image; 0: the centre crop.
        outputs: token sets of these crops.
        features: receives the features of the centre crops; None if they are not needed.
        folder: folder of the decoded centre crops.

    Raises:
        UserError: if no image can be read, or a required token set cannot be stored.
    """
    sites = list({output.site.path: output.site for output in outputs}.values())
    with_center = features is not None and crops > 0

    def store(batch: Tensor, captured: Sequence[Captured], result: Tensor | None, *, is_first: bool) -> None:
        if features is not None and result is not None:
            features.add(batch, result)
        of_path = dict(zip((site.path for site in sites), captured, strict=True))
        # Sites share the samples of a seed.
        samples = functools.cache(functools.partial(_samples, tuple(batch.tolist())))
        for output in outputs:
            output.add(images, batch, of_path[output.site.path], samples, is_first=is_first)

    done = 0
    # One batch is stored while the next one passes through the network.
    threads, device = torch.get_num_threads(), backbone.device
    with ThreadPoolExecutor(1, initializer=_start_thread, initargs=(threads, device)) as background:
        storing: Future[None] | None = None
        for batch in _views(backbone, images, crops, folder, batch_size, report, with_center=with_center):
            views = batch.images
            if features is not None and crops > 0:
                features.add_images(batch.index, views[:, crops])
                views = views[:, :crops]
            captured, result = capture_sites(
                sites,
                backbone.features,
                views.flatten(0, 1).to(backbone.device),
                to_end=features is not None and not crops,
            )
            if storing is not None:
                storing.result()
            storing = background.submit(store, batch.index, captured, result, is_first=not done)
            done += len(batch.index)
            progress(done, len(images), "probing images")
        if storing is not None:
            storing.result()


def _start_thread(threads: int, device: torch.device) -> None:
    numerics.set_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # set_device may do nothing for the default device. The first use of the device gives the thread its context;
        # if that is a product, as in a site's check, cuBLAS warns.
        torch.zeros(1, device=device)


def _samples(image_indices: Sequence[int], plan: ProbingPlan, n_tokens: int) -> list[Tensor]:
    """Sample tokens of each view. Each view has its own random stream, so batches and order have no effect."""
    streams = (
        torch.Generator().manual_seed(seed_of("tokens", plan.seed, image, view))
        for image in image_indices
        for view in range(plan.views())
    )
    return [sample(n_tokens, plan.tokens_per_image, stream) for stream in streams]


def _views(
    backbone: Backbone,
    images: ImageSet,
    crops: int,
    folder: CropFolder,
    batch_size: int,
    report: BrokenReport,
    *,
    with_center: bool,
) -> Iterator[ImageBatch]:
    """Yield the views (B, views, 3, S, S) of the images: ``crops`` random ones, or the centre crop alone if it is 0.

    With ``with_center`` the centre crop follows the random ones.
    """
    preprocessing = backbone.preprocessing
    if crops:
        transform = functools.partial(_random_views, preprocessing, crops, with_center)
        yield from batches(images, transform, batch_size=max(1, batch_size // crops), report=report)
        return
    for batch in center_batches(images, preprocessing, batch_size=batch_size, report=report, crops=folder):
        yield ImageBatch(batch.index, batch.images[:, None])


def _random_views(
    preprocessing: Preprocessing, crops: int, with_center: bool, image: Image.Image, index: int
) -> Tensor:
    """Return random crops (crops, 3, S, S) of an image, and its centre crop after them if that is wanted."""
    generators = (crop_generator(0, index, crop) for crop in range(crops))
    views = [preprocessing.random_resized_crop(image, generator) for generator in generators]
    return torch.stack([*views, preprocessing.center(image)] if with_center else views)
