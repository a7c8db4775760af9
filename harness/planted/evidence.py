"""What runs on planted layers left in a store: scores of all methods and units of the truth and its control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness.planted.world import SETTINGS
from results import Store

#: The four questions, and the score that answers each where the truth is known.
QUESTIONS = {
    "recovery_purity": "one concept a unit",
    "recovery": "concepts found",
    "recovery_cosine": "true directions",
    "recovery_ari": "inputs assigned",
}

#: Kinds of planted layers, and what is true of them.
KINDS = {
    "mixtures": "drawn neurons that mix concepts with inputs of their own; chance: random splits",
    "superposition": "more drawn concepts than neurons, on shared inputs; chance: random dictionaries",
    "photographs": "sums of two real neurons on real tokens; chance: random splits",
}

#: Metrics with one value a unit, and the column of the units table that holds it.
UNIT_COLUMNS = {
    "ms_score": "ms_score",
    "unit_overlap": "redundancy",
    "class_purity": "class_purity",
    "polysemanticity": "polysemanticity",
}

#: Scores that repeat another one, or describe the run and not the method.
LEFT_OUT = ("min_distinctness", "ms_score_null", "expansion_factor")

ORACLE = "oracle"
COLLAPSED = "collapsed"


@dataclass
class World:
    """All that is known of one planted layer."""

    name: str
    """``planted:two_concepts@0``"""
    title: str
    values: pd.DataFrame
    """one row a method (by label), one column a score"""
    methods: dict[str, str]
    """label to registry name"""
    truth: str
    """label of the oracle"""
    control: str
    """label of the chance level: a random split, or a random dictionary where neurons have no parts"""
    collapsed: str | None = None
    """label of one true part repeated, where that was run"""
    units: dict[str, pd.DataFrame] = field(default_factory=dict)
    """label (of truth, control and collapsed) to its units"""

    @property
    def compared(self) -> list[str]:
        """The labels of methods; the truth and what is made of it are none."""
        return [label for label in self.values.index if label not in (self.truth, self.collapsed)]

    @property
    def setting(self) -> str:
        return self.name.removeprefix("planted:").partition("@")[0]

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        if self.setting not in SETTINGS:
            return "photographs"
        return "superposition" if SETTINGS[self.setting].superposed else "mixtures"


@dataclass
class Evidence:
    """Several worlds."""

    worlds: list[World]
    directions: dict[str, int]
    """score to +1 (larger is better) or -1"""

    @property
    def metrics(self) -> list[str]:
        return [name for name in self.directions if not name.startswith("recovery")]


def gather(store: Store, cell_ids: Sequence[str]) -> Evidence:
    """The evidence of finished cells.

    Worlds without a finished oracle or control are left out. Of a world that was run with several splits, or a row
    that was run with several settings, the latest counts.
    """
    wanted = set(cell_ids)
    scores = store.scores()
    scores = scores[scores["cell_id"].isin(wanted) & scores["backbone"].str.startswith("planted:")]
    directions: dict[str, int] = {}
    for metric, direction in scores[["metric", "direction"]].drop_duplicates("metric").itertuples(index=False):
        if direction != "none" and metric not in LEFT_OUT and not metric.startswith(("floor_", "evidence_")):
            directions[metric] = 1 if direction == "higher" else -1
    worlds = []
    for (name, title), own in scores.groupby(["backbone", "backbone_title"], sort=False):
        world = _world(store, name, title, _latest(own[own["metric"].isin(directions)]))
        if world is not None:
            worlds.append(world)
    return Evidence(worlds, directions)


def _latest(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores, oldest first, that belong to the last split, and for each label to its last configuration."""
    splits = ["evaluation_fingerprint", "probing_fingerprint"]
    same = (scores[splits] == scores[splits].iloc[-1]).all(axis=1)
    scores = scores[same]
    last = scores.groupby("label")["config_id"].transform("last")
    return scores[scores["config_id"] == last]


def _world(store: Store, name: str, title: str, own: pd.DataFrame) -> World | None:
    cells = own.drop_duplicates("cell_id")
    # Several seeds of one configuration are one method: their values are averaged.
    values = own.pivot_table(index="label", columns="metric", values="value", aggfunc="mean", sort=False)
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
    return World(name, title, values.astype(np.float64), methods, first[ORACLE], control, collapsed, units)
