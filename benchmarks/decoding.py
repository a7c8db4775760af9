"""Images decoded, cropped and normalised per second, with 1 to N threads, and read again from the cache of crops.

    python benchmarks/decoding.py                      # JPEGs of ImageNet's mean size, up to twice the cores
    python benchmarks/decoding.py --threads 1 2 4 8 16

The settings are measured in turns, and the median of each is taken: other load then meets all of them. The line
``decoding alone`` leaves out the crop and the normalisation. Python's share is the CPU time of images of 9 x 9 pixels:
an upper bound of the time per image in which the global lock of Python is held. From it follows a lower bound of the
number of threads at which the lock limits the rate.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# torch is not imported before harness, which sets how its threads wait: those that spin would take the decoders' cores.
from _report import report
from PIL import Image

from harness import datasets
from harness.activations.center_crops import CropFolder, center_batches
from harness.backbones.preprocessing import IMAGENET_224
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport, ImageBatch, batches, decoding_threads
from harness.devices import core_count

#: ImageNet's images have about 500 x 375 pixels and 110 KB.
SIZE, QUALITY = (500, 375), 92

if TYPE_CHECKING:
    from torch import Tensor


class Cost(NamedTuple):
    """Cost of one image: seconds, and seconds of the CPU, which other load changes less."""

    wall: float
    cpu: float


def cost_of(images: ImageSet, stream: Iterator[ImageBatch]) -> Cost:
    """Read all batches, and return the cost per image."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in stream:
        pass
    return Cost((time.perf_counter() - wall) / len(images), (time.process_time() - cpu) / len(images))


def make_images(folder: Path, count: int, size: tuple[int, int] = SIZE) -> ImageSet:
    """Write ``count`` JPEGs of ``size`` made of the shipped photographs, and return them as an image set."""
    photos = datasets.load("photos")
    (folder / "class").mkdir(parents=True)
    for number in range(count):
        picture = photos.open(number % len(photos)).resize(size, Image.Resampling.BICUBIC)
        picture.save(folder / "class" / f"{number:05d}.jpg", quality=QUALITY)
    return datasets.load(f"folder:{folder}")


def decoded(images: ImageSet, transform: Callable[[Image.Image, int], Tensor], threads: int) -> Cost:
    """Return the cost of decoding with a number of threads."""
    return cost_of(images, batches(images, transform, batch_size=32, workers=threads, report=BrokenReport()))


def stored(images: ImageSet, crops: CropFolder) -> Cost:
    """Return the cost of reading the crops, which an earlier pass has stored."""
    return cost_of(images, center_batches(images, IMAGENET_224, batch_size=32, report=BrokenReport(), crops=crops))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    doubling = [2**power for power in range((2 * core_count()).bit_length())]
    parser.add_argument("--threads", type=int, nargs="+", default=doubling)
    options = parser.parse_args()
    costs: defaultdict[tuple[str, int], list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        images = make_images(Path(name, "images"), options.images)
        tiny = make_images(Path(name, "tiny"), options.images, (9, 9))
        tiny_crop = dataclasses.replace(IMAGENET_224, size=8, resize=8).center
        size = sum(record.path.stat().st_size for record in images.records) / len(images) / 1e3
        print(f"{len(images)} JPEGs of {SIZE[0]} x {SIZE[1]} pixels, {size:.0f} KB on average; {core_count()} cores")
        blank = IMAGENET_224.center(images.open(0))[:, :1, :1]
        transforms = {
            "decoding alone": lambda image, _: blank,
            "with crop": lambda image, _: IMAGENET_224.center(image),
        }
        crops = CropFolder.of(Path(name))
        stored(images, crops)
        for _ in range(options.rounds):
            for kind, transform in transforms.items():
                for threads in options.threads:
                    costs[kind, threads].append(decoded(images, transform, threads))
            costs["tiny", 0].append(decoded(tiny, lambda image, _: tiny_crop(image), 1))
            costs["stored", 0].append(stored(images, crops))
    rates = {key: 1 / statistics.median(cost.wall for cost in values) for key, values in costs.items()}
    cpu = {key: 1e3 * statistics.median(cost.cpu for cost in values) for key, values in costs.items()}
    first = options.threads[0]
    for kind in transforms:
        print(f"\n{kind}: threads, images per second, times those of {first}, CPU milliseconds per image")
        for threads in options.threads:
            key, mark = (kind, threads), " (default)" * (threads == decoding_threads())
            print(f"  {threads:3d}  {rates[key]:8.0f}  {rates[key] / rates[kind, first]:5.2f}  {cpu[key]:6.2f}{mark}")
    default = min(options.threads, key=lambda threads: abs(threads - decoding_threads()))
    best, again = ("with crop", default), ("stored", 0)
    print(f"\nstored crops: {rates[again]:.0f} images per second, {cpu[again]:.2f} CPU milliseconds per image")
    share = cpu["tiny", 0] / cpu["with crop", first]
    print(
        f"Python's share: {cpu['tiny', 0]:.2f} milliseconds per image; its lock limits {1 / share:.0f} threads or more"
    )
    growth = rates[best] / rates["with crop", first]
    note = f"should be near {min(default, core_count()) / first:g} without other load"
    report(f"{default} threads / {first}, images decoded per second", growth, note=note)
    report("Python's share of the CPU time per image", share, note="1 / share threads are not limited by its lock")
    report("decoded / stored crops, CPU time per image", cpu[best] / cpu[again], note="should be above 1")


if __name__ == "__main__":
    main()
