"""Import of overcomplete where the packages of its plots (OpenCV, scikit-image, matplotlib < 3.11) are missing."""

from __future__ import annotations

import importlib
import sys
import types

#: What ``overcomplete/__init__.py`` imports from its plots; nothing here calls them.
NAMES = ("overlay_top_heatmaps", "evidence_top_images", "zoom_top_images", "contour_top_image")


def do_without_plots() -> None:
    """Let ``import overcomplete`` succeed without its plots, if they cannot be imported."""
    try:
        importlib.import_module("overcomplete")
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "overcomplete"]:
            del sys.modules[name]
        substitute = types.ModuleType("overcomplete.visualization")
        for name in NAMES:
            setattr(substitute, name, None)
        sys.modules["overcomplete.visualization"] = substitute
        importlib.import_module("overcomplete")
