"""Comparative evaluation of disentanglement methods on vision models.

>>> import harness
>>> harness.evaluate("my_sae.safetensors", backbone="dinov2_small_saliency", site="blocks.10")   # doctest: +SKIP
>>> suite = harness.load_suite("demo", methods=("identity", "topk_sae"))
>>> summary = harness.run_suite(suite, store="outputs/results.duckdb")          # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import collect_tokens, evaluate, load_plugin, load_suite, run_suite

__all__ = ["__version__", "collect_tokens", "evaluate", "load_plugin", "load_suite", "run_suite"]

try:
    __version__ = importlib.metadata.version("disentanglement-harness")
except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"


def _refuse_shadows() -> None:
    """Say which file hides a package of this project, instead of failing somewhere inside an import.

    Raises:
        ImportError: a file or package of the working directory has the name of one of this project's packages.
        SystemExit: the same on the command line, where a sentence without a traceback is enough.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("methods", "judges", "results"):
        spec = importlib.util.find_spec(name)
        where = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if where is not None and where == home / name / "__init__.py":
            continue
        hides = f"{where} hides" if where is not None else "a folder hides"
        sentence = f"{hides} the package {name!r} of disentanglement-harness: rename it, or run from another directory."
        if Path(sys.argv[0]).name in ("-m", "harness", "__main__.py"):
            raise SystemExit(f"harness: {sentence}")
        raise ImportError(sentence)


_refuse_shadows()

# Sets the environment of the numeric libraries before anything is computed.
importlib.import_module("methods")


def __getattr__(name: str) -> Any:
    # torch and pandas take seconds to import; `harness --help` needs neither.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("harness.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
