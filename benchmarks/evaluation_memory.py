"""Peak memory of a whole run at 100 and at 400 evaluation images: it must not grow with the split.

Each size runs in a process of its own on the same probing images, with every built-in method of the demo that does not
train; the figure is the process's largest resident set. Prints both and their ratio.

    python benchmarks/evaluation_memory.py [--backbone NAME] [--sizes 100 400]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import datasets

PROBING = 60

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
    """``train/`` and ``val/`` class folders of crops of the shipped photographs, the same for the same number."""
    images = datasets.load("photos")
    for split, count in (("train", PROBING), ("val", n_evaluation)):
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="dinov2_small_saliency")
    parser.add_argument("--sizes", type=int, nargs=2, default=(100, 400))
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
    print(f"ratio {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
