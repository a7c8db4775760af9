"""Frozen reference scales: the value of each metric that counts as 0, and the one that counts as 1.

Scaling each metric to the best and worst method present would let a method's score change because another one was
added. The ends here are numbers, or values of the row's own network that its cells store (floors): no end depends on
the other rows of a board. A metric without a scale cannot be weighted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scale:
    """Values that map to 0 and to 1, in the metric's own unit (fractions, not percent).

    Attributes:
        worst: value that maps to 0.
        best: value that maps to 1.
        is_log: positions are those of the logarithms; both ends are positive.
        worst_floor: id of the floor of the row that is `worst` (see `results.boards.board.Floor`); "" for a number.
        best_floor: the same of `best`.
        reason: why these ends, in words.
    """

    worst: float
    best: float
    is_log: bool = False
    worst_floor: str = ""
    best_floor: str = ""
    reason: str = ""

    def resolved(self, floors: Mapping[str, float]) -> Scale | None:
        """Return the scale with the floors of a row as numbers.

        None if the row lacks one, or if they are not in order: if mean ablation of a layer costs no accuracy, no
        reconstruction can recover any.
        """
        if any(floor and floor not in floors for floor in (self.worst_floor, self.best_floor)):
            return None
        worst, best = floors.get(self.worst_floor, self.worst), floors.get(self.best_floor, self.best)
        scale = dataclasses.replace(self, worst=worst, best=best)
        return scale if np.sign(scale.best - scale.worst) == np.sign(self.best - self.worst) else None

    def position(self, value: np.ndarray | float) -> np.ndarray:
        """Return the position of values between the ends, clipped at 0 and 1; NaN stays NaN. Floors are not read."""
        values, worst, best = np.asarray(value, dtype=np.float64), self.worst, self.best
        if self.is_log:
            # Clipped first: 0 has no logarithm.
            values, worst, best = np.log(np.clip(values, min(worst, best), None)), np.log(worst), np.log(best)
        return np.clip((values - worst) / (best - worst), 0.0, 1.0)

    @property
    def missing(self) -> str:
        """Reason why a row with the metric has no position, in words."""
        floors = " and ".join(filter(None, (self.worst_floor, self.best_floor)))
        return f"{floors} missing or not in order"


def _of(*metrics: str, reason: str, worst: float = 0.0, best: float = 1.0) -> dict[str, Scale]:
    return dict.fromkeys(metrics, Scale(worst, best, reason=reason))


def _log(metric: str, worst: float, best: float, reason: str) -> dict[str, Scale]:
    return {metric: Scale(worst, best, is_log=True, reason=reason)}


#: Frozen: changing an end would change every score already quoted. A better scale is a new SCALES_VERSION; another
#: metric is not. Version 2: accuracy and agreement start at mean ablation, and accuracy ends at the original network;
#: both were 0 to 1.
SCALES_VERSION = 2
SCALES: Mapping[str, Scale] = {
    **_of(
        "ms_score",
        reason="the ends of a cosine of images; the level of chance depends on the layer, so it is no end of a fixed "
        "scale: ms_score_token_adjusted subtracts it",
    ),
    **_of("ms_score_adjusted", reason="0 is its null, 1 equal images"),
    **_of(
        "ms_score_token_adjusted",
        best=0.5,
        reason="0 is random images at the same kind of token; half way to equal images, beyond which only units that "
        "repeat one another were measured",
    ),
    **_of("win_rate", reason="no comparison won, all won"),
    **_of("autointerp", worst=0.5, reason="balanced accuracy of a coin, and of a judge without errors"),
    **_of("labelled_share", worst=0.05, reason="share of random units that are above their null, and all units"),
    **_of("class_purity", "class_purity_adjusted", reason="the ends of a share; the adjusted one is 0 at chance"),
    **_of("steering_effect", best=4.0, reason="random units, and odds that are multiplied by 55"),
    **_of("r2", "r2_pooled", reason="the layer's mean, and an exact reconstruction"),
    **_of("fvu", worst=1.0, best=0.0, reason="the layer's mean, and an exact reconstruction"),
    "accuracy": Scale(
        0.0,
        1.0,
        worst_floor="floor_mean_accuracy",
        best_floor="floor_original_accuracy",
        reason="the row's network with the layer replaced by its mean, and unchanged",
    ),
    "agreement": Scale(
        0.0,
        1.0,
        worst_floor="floor_mean_agreement",
        reason="the row's network with the layer replaced by its mean, and all predictions unchanged",
    ),
    **_of("accuracy_recovered", "agreement_recovered", reason="mean ablation, and the original network"),
    **_of("kl", worst=1.0, best=0.0, reason="nat: no cell stores the divergence of mean ablation, so a fixed end"),
    **_of(
        *("stability", "stability_alive", "stability_writer", "token_sensitivity"),
        reason="no common unit, and the same units",
    ),
    **_of("alive_fraction", "unique_units", "effective_rank_share", "min_distinctness", reason="the ends of a share"),
    **_of(
        *("unit_overlap", "unit_overlap_across", "max_collinearity", "nearest_cosine_mean"),
        worst=1.0,
        best=0.0,
        reason="units that repeat one another, and units with nothing in common",
    ),
    **_log("l0", 1000.0, 1.0, "active units per token: as dense as a layer of 1000 neurons, and one unit per token"),
    **_log("expansion_factor", 100.0, 1.0, "a hundred units per neuron of the layer, and one"),
    **_log("fit_seconds", 3600.0, 1.0, "an hour, and a second, below which starting a fit takes as long"),
    **_log("encode_macs", 100.0, 0.01, "GMAC/image: several times a ViT-B/16, and a thousandth of it"),
    **_log("parameters", 1000.0, 0.1, "million: a large network, and a thousandth of a ViT-B/16"),
    **_log("fit_peak_memory", 80_000.0, 100.0, "MB: a large accelerator, and a small process"),
}
