"""Results on planted layers, read from a store: scores of all methods, and units of the truth and its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness.planted.photographs import PHOTOGRAPHS
from harness.planted.world import SETTINGS
from results import Store

#: Recovery score -> the question that it answers.
QUESTIONS = {
    "recovery_purity": "one concept per unit",
    "recovery_adjusted": "concepts found",
    "recovery_cosine": "true directions",
    "recovery_ari": "inputs assigned",
}

RECOVERY_SCORES = (*QUESTIONS, "recovery_separated", "recovery", "recovery_random")

#: Kind of planted layer -> its description.
KINDS = {
    "mixtures": "synthetic neurons that mix concepts with separate inputs; chance: random splits",
    "superposition": "more synthetic concepts than neurons, on shared inputs; chance: random dictionaries",
    "hierarchy": "synthetic children and parents, on separate inputs; chance: random dictionaries",
    "photographs": "sums of readouts of two clusters of real tokens; chance: random splits",
}

#: Scores that duplicate another one, or describe the run instead of the method.
LEFT_OUT = (
    *("min_distinctness", "ms_score_null", "expansion_factor", "r2_pooled"),
    *("encode_macs", "parameters", "fit_peak_memory"),
)

ORACLE = "oracle"
COLLAPSED = "collapsed"
ABSORBING = "absorbing"


@dataclass
class LayerResults:
    """Results on one planted layer."""

    name: str
    """name of the backbone, e.g. ``planted:two_concepts@0``"""
    values: pd.DataFrame
    """one row per method (index: label), one column per score"""
    methods: dict[str, str]
    """label to registry name"""
    truth: str
    """label of the oracle"""
    control: str
    """label of the chance level: a random split, or a random dictionary if neurons have no parts"""
    collapsed: str | None = None
    """label of the method ``collapsed`` (one true part, repeated), or None if it was not run"""
    units: dict[str, pd.DataFrame] = field(default_factory=dict)
    """label (of truth, control and collapsed) -> table of units"""

    @property
    def compared(self) -> list[str]:
        """Labels of the methods to compare, without the truth and what is made of it."""
        made_of_truth = {self.truth, self.collapsed}
        made_of_truth |= {label for label, method in self.methods.items() if method == ABSORBING}
        return [label for label in self.values.index if label not in made_of_truth]

    @property
    def setting(self) -> str:
        """Name of the world's setting, without the seed."""
        return _setting_of(self.name)

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        if self.setting in PHOTOGRAPHS:
            return "photographs"
        if SETTINGS[self.setting].children:
            return "hierarchy"
        return "superposition" if SETTINGS[self.setting].superposed else "mixtures"


@dataclass
class Evidence:
    """Results on several planted layers."""

    worlds: list[LayerResults]
    directions: dict[str, int]
    """score -> +1 if larger is better, or -1 if smaller is"""

    @property
    def metrics(self) -> list[str]:
        """Scores other than the recovery scores."""
        return [name for name in self.directions if not name.startswith("recovery")]


def gather(store: Store, cell_ids: Sequence[str]) -> Evidence:
    """Collect the results of these finished cells on planted layers.

    Worlds without a finished oracle or control are left out, and so are worlds that do not exist any more. If a world
    was run with several splits, a label with several configurations, or a metric in several versions, the latest is
    used.
    """
    scores = store.scores()
    scores = scores[scores["cell_id"].isin(list(cell_ids)) & scores["backbone"].str.startswith("planted:")]
    directions: dict[str, int] = {}
    for metric, direction in scores[["metric", "direction"]].drop_duplicates("metric").itertuples(index=False):
        if metric in RECOVERY_SCORES or _ranks_methods(metric, direction):
            directions[metric] = 1 if direction == "higher" else -1
    worlds = []
    for name, of_world in scores.groupby("backbone", sort=False):
        if _setting_of(name) not in SETTINGS | PHOTOGRAPHS:
            continue
        world = _world(store, name, _latest(of_world[of_world["metric"].isin(directions)]))
        if world is not None:
            worlds.append(world)
    return Evidence(worlds, directions)


def _ranks_methods(metric: str, direction: str) -> bool:
    """Return True for a score that has a better side and is not left out."""
    return direction != "none" and metric not in LEFT_OUT and not metric.startswith(("floor_", "evidence_"))


def _latest(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of the last split, of each label's last configuration, and of each metric's last version.

    The input is sorted, oldest first.
    """
    splits = ["evaluation_fingerprint", "probing_fingerprint"]
    scores = scores[(scores[splits] == scores[splits].iloc[-1]).all(axis=1)]
    last = scores.groupby("label")["config_id"].transform("last")
    scores = scores[scores["config_id"] == last]
    return scores[scores["version"] == scores.groupby("metric")["version"].transform("max")]


def _setting_of(name: str) -> str:
    """Return the setting in the name of a planted backbone, without the seed."""
    return name.removeprefix("planted:").partition("@")[0]


def _world(store: Store, name: str, scores: pd.DataFrame) -> LayerResults | None:
    """Return the results of one world, or None if the oracle or the control is missing."""
    cells = scores.drop_duplicates("cell_id")
    # Several seeds of one configuration are one method: their values are averaged.
    values = scores.pivot_table(index="label", columns="metric", values="value", aggfunc="mean", sort=False)
    methods = dict(zip(cells["label"], cells["method"], strict=True))
    first = {method: label for label, method in reversed(methods.items())}
    if ORACLE not in first:
        return None
    ids = dict(zip(cells["label"], cells["cell_id"], strict=True))
    truth = store.units(ids[first[ORACLE]])
    control = first.get("random_dictionary" if bool(truth["parent"].isna().all()) else "random_split")
    if control is None:
        return None
    collapsed = first.get(COLLAPSED)
    units = {label: store.units(ids[label]) for label in (control, collapsed) if label is not None}
    units[first[ORACLE]] = truth
    return LayerResults(name, values.astype(np.float64), methods, first[ORACLE], control, collapsed, units)
