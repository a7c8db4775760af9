"""Training steps as a GPU takes them: dense, without the compiled kernels of the CPU."""

from __future__ import annotations

import sys

import pytest


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no module that is imported so far use the kernels."""
    for name, module in list(sys.modules.items()):
        if name.startswith("methods.") and hasattr(module, "sparse_here"):
            monkeypatch.setattr(module, "sparse_here", lambda x: False)
