"""Plot of a sweep: R2 against L0 of every configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.run.selection import Candidate
from methods import METHODS


def draw(candidates: Sequence[Candidate], path: Path, target_l0: float) -> Path:
    """Plot R2 against L0, one panel per family, and mark the selections by eq. 9 and at the target L0."""
    from matplotlib.figure import Figure

    families = list(dict.fromkeys(candidate.family for candidate in candidates))
    columns = min(4, len(families))
    rows = math.ceil(len(families) / columns)
    figure = Figure(figsize=(3.2 * columns, 2.8 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).flatten()
    for panel, family in zip(panels, families, strict=False):
        members = [candidate for candidate in candidates if candidate.family == family]
        panel.scatter([c.l0 for c in members], [c.r2 for c in members], s=14, color="0.6", label="swept")
        for flag, marker, label in (("chosen", "o", "eq. 9"), ("at_target", "s", f"L0 near {target_l0:g}")):
            selected = [c for c in members if getattr(c, flag)]
            panel.scatter(
                [c.l0 for c in selected],
                [c.r2 for c in selected],
                s=70,
                marker=marker,
                facecolors="none",
                edgecolors="C0" if flag == "chosen" else "C1",
                label=label,
            )
        panel.set(title=METHODS.get(family).spec.title, xlabel="L0 (active units per token)", ylabel="R2", xscale="log")
        _scale(panel, [c.l0 for c in members], [c.r2 for c in members])
    for panel in panels[len(families) :]:
        panel.set_visible(False)
    panels[0].legend(fontsize="x-small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _scale(panel: Any, l0: Sequence[float], r2: Sequence[float]) -> None:
    """Label axes with plain numbers, and widen them around values that differ only by noise (such as a fixed L0)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    active = [value for value in l0 if math.isfinite(value) and value > 0]
    if active and max(active) < 4 * min(active):
        middle = math.sqrt(min(active) * max(active))
        panel.set_xlim(middle / 3, middle * 3)
    finite_r2 = [value for value in r2 if math.isfinite(value)]
    if finite_r2 and max(finite_r2) - min(finite_r2) < 0.05:
        middle = (max(finite_r2) + min(finite_r2)) / 2
        panel.set_ylim(middle - 0.05, middle + 0.05)
