"""Python, the packages, and the device."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from harness.doctor.base import Check

REQUIRED = (
    ("torch", "torch"),
    ("torchvision", "torchvision"),
    ("timm", "timm"),
    ("duckdb", "duckdb"),
    ("numba", "numba"),
    ("hdbscan", "hdbscan"),
    ("scikit-learn", "sklearn"),
    ("overcomplete", "overcomplete"),
)
OPTIONAL = (
    ("transformers", "transformers", 'Hugging Face backbones need it: pip install "disentanglement-harness[hf]"'),
    ("datasets", "datasets", 'Hugging Face image sets need it: pip install "disentanglement-harness[hf]"'),
)
#: Not imported to see whether they work: some take a minute, or want a GPU.
LOOKED_FOR = (
    ("streamlit", "streamlit", 'harness app needs it: pip install "disentanglement-harness[app]"'),
    ("ray", "ray", 'Several cells at a time need it: pip install "disentanglement-harness[ray]"'),
    ("httpx2", "httpx2", 'Judges behind a server need it: pip install "disentanglement-harness[judge]"'),
    ("vllm", "vllm", 'Judges on this GPU need it: pip install "disentanglement-harness[vllm]", best on its own'),
    ("umap-learn", "umap", 'Only elude.umap_dims (Table 7) needs it: pip install "disentanglement-harness[umap]"'),
    ("cuml-cu12", "cuml", 'Only elude.backend = "cuml" needs it; the default backend is exact and needs nothing.'),
)


def python() -> Check:
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check(
        "Python", fits, True, platform.python_version(), "Use Python 3.11 or 3.12: overcomplete 0.3.0 needs < 3.13."
    )


def package(name: str, module: str, *, needed: bool = True, remedy: str = "") -> Check:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Check(name, False, needed, "not installed", remedy or f"pip install {name}")
    try:
        importlib.import_module(module)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "libGL" in reason:
            remedy = "OpenCV's GUI build needs libGL: pip uninstall opencv-python && pip install opencv-python-headless"
        elif "get_cmap" in reason:
            remedy = 'overcomplete 0.3.0 needs an older matplotlib: pip install "matplotlib<3.11"'
        return Check(name, False, needed, f"{installed}, but it cannot be imported: {reason}", remedy)
    return Check(name, True, needed, installed)


def looked_for(name: str, module: str, remedy: str) -> Check:
    """An optional package, by its module: distributions of one module have several names."""
    spec = importlib.util.find_spec(module)
    # A folder of that name that happens to lie here has no origin.
    if spec is None or spec.origin is None:
        return Check(name, False, False, "not installed", remedy)
    try:
        return Check(name, True, False, version(name))
    except PackageNotFoundError:
        return Check(name, True, False, "installed")


def gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("GPU", True, False, torch.cuda.get_device_name(0))
    return Check("GPU", False, False, f"none; {torch.get_num_threads()} CPU threads", "The demo does not need one.")
