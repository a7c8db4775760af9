"""Chart of a sweep: R2 against L0 of every configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.run.selection import Candidate
from methods import METHODS


def draw(candidates: Sequence[Candidate], path: Path, target_l0: float) -> Path:
    """R2 against L0, one panel a family: all candidates, the choice of eq. 9 and the one at the target L0."""
    from matplotlib.figure import Figure

    families = list(dict.fromkeys(candidate.family for candidate in candidates))
    columns = min(4, len(families))
    rows = math.ceil(len(families) / columns)
    figure = Figure(figsize=(3.2 * columns, 2.8 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).flatten()
    for panel, family in zip(panels, families, strict=False):
        own = [candidate for candidate in candidates if candidate.family == family]
        panel.scatter([c.l0 for c in own], [c.r2 for c in own], s=14, color="0.6", label="swept")
        for flag, marker, label in (("chosen", "o", "eq. 9"), ("at_target", "s", f"L0 near {target_l0:g}")):
            picked = [c for c in own if getattr(c, flag)]
            panel.scatter(
                [c.l0 for c in picked],
                [c.r2 for c in picked],
                s=70,
                marker=marker,
                facecolors="none",
                edgecolors="C0" if flag == "chosen" else "C1",
                label=label,
            )
        panel.set(title=METHODS.get(family).spec.title, xlabel="L0 (active units a token)", ylabel="R2", xscale="log")
        _scale(panel, [c.l0 for c in own], [c.r2 for c in own])
    for panel in panels[len(families) :]:
        panel.set_visible(False)
    panels[0].legend(fontsize="x-small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _scale(panel: Any, l0: Sequence[float], r2: Sequence[float]) -> None:
    """Plain numbers on the axes, and room about values that differ by noise only (an L0 that is a setting)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    active = [value for value in l0 if math.isfinite(value) and value > 0]
    if active and max(active) < 4 * min(active):
        middle = math.sqrt(min(active) * max(active))
        panel.set_xlim(middle / 3, middle * 3)
    shares = [value for value in r2 if math.isfinite(value)]
    if shares and max(shares) - min(shares) < 0.05:
        middle = (max(shares) + min(shares)) / 2
        panel.set_ylim(middle - 0.05, middle + 0.05)
