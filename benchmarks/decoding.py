"""Images decoded, cropped and normalised per second, with 1 to N threads, and read again from the cache of crops.

    python benchmarks/decoding.py                      # JPEGs of ImageNet's mean size, up to twice the cores
    python benchmarks/decoding.py --threads 1 2 4 8 16

The settings are measured in turns, and the median of each is taken: other load then meets all of them. The line
``decoding alone`` leaves out the crop and the normalisation. If the global lock of Python were held while decoding,
its rate would not grow with the threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _report import report
from PIL import Image
from torch import Tensor

from harness import datasets
from harness.activations.center_crops import CropFolder, center_batches
from harness.backbones.preprocessing import IMAGENET_224
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport, batches, decoding_threads
from harness.devices import core_count

#: ImageNet's images have about 500 x 375 pixels and 110 KB.
SIZE, QUALITY = (500, 375), 92

Rate = Callable[[int], float]


def make_images(folder: Path, count: int) -> ImageSet:
    """Write ``count`` JPEGs of :data:`SIZE` made of the shipped photographs, and return them as an image set."""
    photos = datasets.load("photos")
    (folder / "class").mkdir()
    for number in range(count):
        picture = photos.open(number % len(photos)).resize(SIZE, Image.Resampling.BICUBIC)
        picture.save(folder / "class" / f"{number:05d}.jpg", quality=QUALITY)
    return datasets.load(f"folder:{folder}")


def rate_of(images: ImageSet, transform: Callable[[Image.Image, int], Tensor]) -> Rate:
    """Return a function from a number of threads to images per second."""

    def rate(threads: int) -> float:
        start = time.perf_counter()
        for _ in batches(images, transform, batch_size=32, workers=threads, report=BrokenReport()):
            pass
        return len(images) / (time.perf_counter() - start)

    return rate


def rate_of_stored(images: ImageSet, crops: CropFolder) -> float:
    """Return the images per second of a pass over the crops, which an earlier pass has stored."""
    start = time.perf_counter()
    for _ in center_batches(images, IMAGENET_224, batch_size=32, report=BrokenReport(), crops=crops):
        pass
    return len(images) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    doubling = [2**power for power in range((2 * core_count()).bit_length())]
    parser.add_argument("--threads", type=int, nargs="+", default=doubling)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        images = make_images(Path(name), options.images)
        size = sum(record.path.stat().st_size for record in images.records) / len(images) / 1e3
        print(f"{len(images)} JPEGs of {SIZE[0]} x {SIZE[1]} pixels, {size:.0f} KB on average; {core_count()} cores")
        blank = torch.zeros(1)
        kinds = {
            "decoding alone": rate_of(images, lambda image, _: blank),
            "with crop": rate_of(images, lambda image, _: IMAGENET_224.center(image)),
        }
        crops = CropFolder.of(Path(name))
        rate_of_stored(images, crops)
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(options.rounds):
            for kind, rate in kinds.items():
                for threads in options.threads:
                    rates.setdefault((kind, threads), []).append(rate(threads))
            rates.setdefault(("stored", 0), []).append(rate_of_stored(images, crops))
    medians = {key: statistics.median(values) for key, values in rates.items()}
    for kind in kinds:
        print(f"\n{kind}: threads, images per second, times that of {options.threads[0]} thread")
        for threads in options.threads:
            ratio = medians[kind, threads] / medians[kind, options.threads[0]]
            mark = " (default)" * (threads == decoding_threads())
            print(f"  {threads:3d}  {medians[kind, threads]:8.0f}  {ratio:5.2f}{mark}")
    first, default = options.threads[0], min(options.threads, key=lambda threads: abs(threads - decoding_threads()))
    stored = medians["stored", 0]
    decoded = medians["with crop", default]
    print(
        f"\nstored crops: {stored:.0f} images per second, {stored / decoded:.1f} times those decoded by {default} threads"
    )
    report(
        f"{default} threads / {first}, decoded images per second",
        decoded / medians["with crop", first],
        note=f"should be near {min(default, core_count()) / first:g}",
    )
    report("stored crops / decoded, images per second", stored / decoded, note="should be above 1")


if __name__ == "__main__":
    main()
