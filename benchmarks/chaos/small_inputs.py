"""Inputs of a run of a few seconds: small pictures, a suite, and a backbone of few random weights."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
#: Plugin that registers the backbones ``tiny_vit`` and ``tiny_cnn``.
BACKBONES = SUPPORT / "tiny_backbones.py"

METHODS = {
    "identity": "",
    "random_split": "parts = 2",
    "topk_sae": "expansion_factor = 2, k = 4, epochs = 2, batch_size = 64",
    "elude": "top_k = 200, min_cluster_size = 15",
}


def use_support() -> None:
    """Make the modules of ``tests/support`` importable, and register the small backbones in this process."""
    if str(SUPPORT) not in sys.path:
        sys.path.append(str(SUPPORT))
    import tiny_backbones  # noqa: F401 - registers them


def write_pictures(folder: Path, *, per_class: int = 10) -> None:
    """Write class folders of small pictures whose classes differ in colour and stripes."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = generator.integers(0, 90, (40, 40, 3))
            pixels[..., 2 - label] += 120
            pixels[:: 2 + label] //= 2
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:02d}.png")


def suite_text(*methods: str, dataset: str = "folder:pictures", seeds: str = "[1, 2]", extra: str = "") -> str:
    """Return the text of a suite of the given methods; ``extra`` is put at its end."""
    entries = "".join(f'\n[[methods]]\nname = "{name}"\nconfig = {{ {METHODS[name]} }}\n' for name in methods)
    return f"""\
name = "chaos"

[data]
dataset = "{dataset}"
evaluation = 12

[seeds]
tokens = {seeds}

[probing]
crops = 2
tokens_per_image = 8

[evaluation]
top_images = 9
batch_size = 5

[[targets]]
backbone = "tiny_vit"
{entries}{extra}"""


def write_run(folder: Path, *methods: str, seeds: str = "[1]") -> None:
    """Write ``pictures/`` and ``suite.toml`` into a folder."""
    write_pictures(folder / "pictures")
    (folder / "suite.toml").write_text(suite_text(*methods, seeds=seeds))


RUN = ("run", "--suite", "suite.toml", "--store", "out/results.duckdb")


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="chaos-shared-")


def shared_folder(name: str) -> Path:
    """Return a new folder that lasts as long as this process; the forks read it."""
    folder = Path(_scratch().name, name)
    folder.mkdir()
    return folder


@functools.cache
def finished_run() -> Path:
    """Return a folder with a finished run: pictures, suite, store, cache and artifacts. Each copies what it damages."""
    folder = shared_folder("finished")
    write_run(folder, "identity", "random_split", "topk_sae")
    command = [sys.executable, "-m", "harness", *RUN, "--plugin", str(BACKBONES)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def copy_finished_run(folder: Path) -> None:
    """Copy the finished run into a folder."""
    shutil.copytree(finished_run(), folder, dirs_exist_ok=True)
