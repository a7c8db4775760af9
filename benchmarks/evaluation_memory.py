"""Peak memory of a whole run with few and with more evaluation images. It must not grow with them.

    python benchmarks/evaluation_memory.py                    # 40 and 80 images
    python benchmarks/evaluation_memory.py --sizes 100 400    # several minutes

Each size runs in its own process on the same probing images, with two methods that do not train. Prints the largest
resident set of both processes and the ratio of the two, which should be near 1.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from _report import report

from harness import datasets

PROBING_IMAGES = 30

SUITE = """
name = "memory"
[data]
dataset = "folder:{folder}"
[probing]
tokens_per_image = 32
[evaluation]
top_images = 50
[[targets]]
backbone = "{backbone}"
[[methods]]
name = "identity"
[[methods]]
name = "random_split"
config = {{ parts = 8 }}
"""


def make_images(folder: Path, n_evaluation: int) -> None:
    """Write class folders ``train/`` and ``val/`` with crops of the shipped photographs, without randomness."""
    images = datasets.load("photos")
    for split, count in (("train", PROBING_IMAGES), ("val", n_evaluation)):
        for number in range(count):
            picture = images.open(number * 7 % len(images))
            shift = 3 * (number * 7 // len(images))
            side = min(picture.size) - 40
            label = images.classes[images.labels[number * 7 % len(images)]]
            target = folder / split / label
            target.mkdir(parents=True, exist_ok=True)
            picture.crop((shift, shift, shift + side, shift + side)).save(target / f"{number:04d}.jpg")


def measure(folder: Path, backbone: str) -> None:
    """Run the suite in this process and print its peak memory in MiB."""
    from harness.run import run
    from harness.suites import load_suite

    suite = folder / "suite.toml"
    suite.write_text(SUITE.format(folder=folder / "images", backbone=backbone))
    summary = run(load_suite(str(suite)), folder / "results.duckdb", device="cpu")
    if summary.failed:
        raise SystemExit("a cell failed")
    print(json.dumps({"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="dinov2_small_saliency", help="name of the backbone")
    parser.add_argument("--sizes", type=int, nargs=2, default=(40, 80), help="evaluation images of the two runs")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        measure(options.folder, options.backbone)
        return
    peaks = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            make_images(Path(temporary) / "images", size)
            command = [sys.executable, __file__, "--backbone", options.backbone, "--folder", temporary]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(json.loads(done.stdout.splitlines()[-1])["mib"])
        print(f"{size:5d} evaluation images: peak {peaks[-1]:8.1f} MiB", flush=True)
    ratio = peaks[1] / peaks[0]
    print(f"ratio {ratio:.3f}")
    report(f"peak memory, {options.sizes[1]} / {options.sizes[0]} evaluation images", ratio, note="should be near 1")


if __name__ == "__main__":
    main()
