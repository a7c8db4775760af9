"""Hyperparameter sweep of the trained families and the choice of one configuration each (paper, App. E.1, eq. 9).

Every configuration is a cell of the store like any other: a sweep that was interrupted goes on where it stopped. All
run on the first token seed and one training seed. :mod:`harness.selecting` does this inside a suite.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.errors import UserError
from harness.executors import create
from harness.reporter import Reporter
from harness.run import RunSummary, run
from harness.side_by_side import SideBySide
from harness.suite import Suite, Target, parse_suite
from methods import METHODS
from methods.registry import did_you_mean
from results import open_store
from results.sweeps import SUFFIX

LEARNING_RATES = (1e-4, 5e-4, 1e-3)
DEAD_WEIGHTS = (1e-5, 1e-4, 1e-3)
L1_WEIGHTS = (1e-3, 5e-3, 2e-2)
SPARSITY_WEIGHTS = (1e-4, 1e-3, 1e-2)

_SHARED: dict[str, tuple[float, ...]] = {"learning_rate": LEARNING_RATES, "dead_weight": DEAD_WEIGHTS}

#: Family to the values of each setting that is swept: 27 + 27 + 5 x 9 = 99 configurations, and the transcoder's 27.
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "vanilla_sae": {**_SHARED, "l1_weight": L1_WEIGHTS},
    "jumprelu_sae": {**_SHARED, "sparsity_weight": SPARSITY_WEIGHTS},
    "topk_sae": _SHARED,
    "batchtopk_sae": _SHARED,
    "matching_pursuit_sae": _SHARED,
    "matryoshka_sae": _SHARED,
    "archetypal_sae": _SHARED,
    "transcoder": {**_SHARED, "l1_weight": L1_WEIGHTS},
}

#: An L0 this near to the target counts as reaching it.
TARGET_TOLERANCE = 0.15


_DESCRIBED = ("backbone", "site", "evaluation_fingerprint", "method", "config")


class Candidate(NamedTuple):
    """One configuration of a family and how it did."""

    family: str
    config: Mapping[str, Any]
    """the settings that are swept"""
    r2: float
    l0: float
    """active units a token"""
    score: float
    """eq. 9; NaN where R2 or L0 is not finite"""
    chosen: bool
    """largest score of its family"""
    at_target: bool
    """the alternative choice, at the target L0"""
    target: str = ""
    """backbone and layer"""


class SweepResult(NamedTuple):
    """What a sweep found."""

    summary: RunSummary
    candidates: list[Candidate]
    charts: list[Path]
    """one a target"""


def grid(family: str, which: str = "full") -> list[dict[str, float]]:
    """The configurations of a family, in the order of the paper's lists.

    ``which`` is ``full``, or ``few``: smallest and largest learning rate with the middle of everything else.

    Raises:
        UserError: for a family that has no grid.
    """
    if family not in GRIDS:
        raise UserError(f"There is no sweep for {family!r}. {did_you_mean(family, list(GRIDS))}")
    axes = GRIDS[family]
    if which == "few":
        axes = {key: (values[0], values[-1]) if key == "learning_rate" else values[1:2] for key, values in axes.items()}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def has_fixed_l0(family: str) -> bool:
    """Whether the family's L0 is a setting (``k``) and not a result."""
    return "k" in METHODS.get(family).Config.model_fields


def selection_scores(r2: Sequence[float], l0: Sequence[float], *, fixed_l0: bool = False) -> np.ndarray:
    """Eq. 9, ``(1 - MSE~) / 2 + (1 - L0~) / 2``, MSE~ and L0~ min-max normalised within the family.

    1 - R2 stands in the place of the MSE. R2 is a mean over features of errors that are divided by each feature's
    variance, the MSE a plain one: where variances differ much, another configuration can win. The division of L0 by the
    number of units is a factor that the normalisation removes.
    A term that does not vary normalises to 0 for all, so that the other decides. Where L0 is a setting
    (``fixed_l0``), what is left of its variation is noise, which min-max would blow up to half of the score: the term
    is 0 for all, and the smallest error wins.

    Returns:
        (n,) scores; NaN for candidates whose R2 or L0 is not finite, which do not take part in the normalisation.
    """
    error, active = 1 - np.asarray(r2, dtype=float), np.asarray(l0, dtype=float)
    usable = np.isfinite(error) & np.isfinite(active)
    scores = np.full(len(error), np.nan)
    if usable.any():
        sparsity = np.zeros(int(usable.sum())) if fixed_l0 else _min_max(active[usable])
        scores[usable] = 0.5 * (1 - _min_max(error[usable])) + 0.5 * (1 - sparsity)
    return scores


def _min_max(values: np.ndarray) -> np.ndarray:
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else np.zeros_like(values)


def pick_at_target(r2: Sequence[float], l0: Sequence[float], target: float) -> int | None:
    """Index of the best R2 among the candidates within 15 % of the target L0; of none are, of the nearest by ratio."""
    usable = [i for i in range(len(r2)) if math.isfinite(r2[i]) and math.isfinite(l0[i]) and l0[i] > 0]
    if not usable:
        return None
    reached = [i for i in usable if abs(l0[i] / target - 1) <= TARGET_TOLERANCE]
    if reached:
        return max(reached, key=lambda i: (r2[i], -i))
    return min(usable, key=lambda i: (abs(math.log(l0[i] / target)), -r2[i], i))


def candidates_of(
    family: str, configs: Sequence[Mapping[str, Any]], r2: Sequence[float], l0: Sequence[float], *, target_l0: float
) -> list[Candidate]:
    """The family's configurations with their scores and both choices; ties go to the earlier one."""
    scores = selection_scores(r2, l0, fixed_l0=has_fixed_l0(family))
    best = int(np.nanargmax(scores)) if np.isfinite(scores).any() else None
    at_target = pick_at_target(r2, l0, target_l0)
    return [
        Candidate(family, config, r2[i], l0[i], float(scores[i]), i == best, i == at_target)
        for i, config in enumerate(configs)
    ]


def sweep_suite(suite: Suite, families: Sequence[str], overrides: Mapping[str, Any] | None = None) -> Suite:
    """The suite's targets and data with the grids of the families as its methods, and R2 and L0 as its metrics.

    Settings that are not swept are the suite's own for that family, then ``overrides`` (those that a family has).
    """
    values = suite.model_dump()
    for target, described in zip(suite.targets, values["targets"], strict=True):
        # Of several entries of a family the first one's settings count.
        own = {entry.name: dict(entry.config) for entry in reversed(suite.methods_of(target))}
        described["methods"] = [
            {"name": family, "config": {**own.get(family, {}), **_known(family, overrides or {}), **config}}
            for family in families
            for config in grid(family)
        ]
        described["token_seeds"] = suite.token_seeds_of(target)[:1]
    return parse_suite(only_swept(suite, values), source=f"sweep of {suite.name}")


def only_swept(suite: Suite, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a suite, whose targets have the methods to sweep, as one that measures R2 and L0 and no more."""
    for described in values["targets"]:
        described["settings"] = {}
    return {
        **values,
        "name": f"{suite.name}{SUFFIX}",
        "methods": (),
        "extra": suite.extra,
        "seeds": {"tokens": suite.seeds.tokens[:1], "init": suite.seeds.init[:1]},
        "evaluation": {**values["evaluation"], "metrics": ("l0", "r2")},
        # Nobody wants ninety-nine settings judged in pairs, or each of them three times.
        "judging": None,
        "stability": None,
    }


def _known(family: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    fields = METHODS.get(family).Config.model_fields
    return {key: value for key, value in overrides.items() if key in fields}


def sweep(
    suite: Suite,
    store_path: str | Path,
    *,
    families: Sequence[str] = tuple(GRIDS),
    overrides: Mapping[str, Any] | None = None,
    target_l0: float = 20.0,
    device: str = "auto",
    cache: str | Path | None = None,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> SweepResult:
    """Run the grids on every target, choose a configuration for each family there, and draw R2 against L0.

    Args:
        workers: processes of one thread each that compute cells side by side (:mod:`harness.side_by_side`); 1: this
            process, with all its threads.

    Raises:
        UserError: for a family without a grid, or anything wrong with the suite.
    """
    folder = Path(store_path).expanduser().absolute().parent
    summaries: list[RunSummary] = []
    found: list[Candidate] = []
    charts: list[Path] = []
    with SideBySide(workers) if workers > 1 else create("local") as executor:
        for leaf, target in _layers(suite):
            planned = sweep_suite(leaf.model_copy(update={"targets": (target,)}), families, overrides)
            summary = run(planned, store_path, device=device, cache=cache, executor=executor, reporter=reporter)
            summaries.append(summary)
            title = f"{target.backbone} at {target.site}" if target.site else target.backbone
            own = _chosen(measured(store_path, summary.cell_ids), families, target_l0, title)
            if own:
                number = f"-{len(charts) + 1}" if charts else ""
                charts.append(draw(own, folder / f"{planned.name.replace('/', '-')}{number}.svg", target_l0))
            found += own
            if summary.interrupted:
                break
    return SweepResult(together(summaries), found, charts)


def _layers(suite: Suite) -> Iterator[tuple[Suite, Target]]:
    """Each layer of each leaf once, with all methods that the suite has for it: it may be listed several times."""
    for leaf in suite.leaves:
        layers: dict[tuple[Any, ...], list[Target]] = {}
        for target in leaf.targets:
            key = (target.backbone, target.site, target.checkpoint, target.weights, target.head)
            layers.setdefault(key, []).append(target)
        for same in layers.values():
            entries = tuple(entry for target in same for entry in leaf.methods_of(target))
            yield leaf, same[0].model_copy(update={"methods": entries, "settings": {}})


def together(summaries: Sequence[RunSummary]) -> RunSummary:
    """Several runs as one: cells added up, the last one's id, interrupted if one was."""
    last = summaries[-1]
    return last._replace(
        cell_ids=list(dict.fromkeys(cell_id for summary in summaries for cell_id in summary.cell_ids)),
        finished=sum(summary.finished for summary in summaries),
        failed=sum(summary.failed for summary in summaries),
        kept=sum(summary.kept for summary in summaries),
        broken_images=max(summary.broken_images for summary in summaries),
        interrupted=any(summary.interrupted for summary in summaries),
    )


def _chosen(frame: pd.DataFrame, families: Sequence[str], target_l0: float, title: str) -> list[Candidate]:
    found: list[Candidate] = []
    for family in families:
        rows = frame[frame["method"] == family]
        if rows.empty:
            continue
        configs = [{key: config[key] for key in GRIDS[family]} for config in rows["config"]]
        own = candidates_of(family, configs, list(rows["r2"]), list(rows["l0"]), target_l0=target_l0)
        found += [candidate._replace(target=title) for candidate in own]
    return found


def measured(store_path: str | Path, cell_ids: Sequence[str]) -> pd.DataFrame:
    """One row a finished cell, in the order given: what it is (``method``, ``config``, ...), ``r2``, ``l0``."""
    store = open_store(store_path)
    cells = store.cells().set_index("cell_id")
    scores = store.scores()
    scores = scores[scores["cell_id"].isin(list(cell_ids))]
    rows = []
    for cell_id in cell_ids:
        own = scores[scores["cell_id"] == cell_id].set_index("metric")["value"]
        if cell_id in cells.index and {"r2", "l0"} <= set(own.index):
            cell = cells.loc[cell_id]
            described = {key: cell[key] for key in _DESCRIBED}
            rows.append({**described, "r2": own["r2"], "l0": own["l0"]})
    return pd.DataFrame(rows, columns=[*_DESCRIBED, "r2", "l0"])


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
