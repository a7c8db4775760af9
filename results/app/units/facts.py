"""Facts about one unit, as the sentences of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from results.app.gallery import listed
from results.app.titles import visible

_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")
#: A unit is active all over the image if no ninth has more than this times the average.
_EVEN = 1.25
#: Ninths with more than this times the largest are named together.
_ABOUT_EQUAL = 0.7
#: A lead over chance below this is called slight.
_SLIGHT = 0.05


def is_prefix_unit(unit: Mapping[str, Any]) -> bool:
    """Return True if most of a unit's maxima are at CLS or a register, which have no position in the image.

    A dead unit has no maxima.
    """
    if not unit.get("alive", True):
        return False
    share = _number(unit.get("prefix_share"))
    if share is None:
        positions = listed(unit["top_position"])
        share = sum(position < 0 for position in positions) / len(positions) if positions else 0.0
    return share > 0.5


def chance_of(unit: Mapping[str, Any]) -> float | None:
    """Return the MS score of random images at the unit's kind of token, or of any kind in older stores."""
    token_chance = _number(unit.get("ms_score_token_null"))
    return token_chance if token_chance is not None else _number(unit.get("ms_score_null"))


def score_sentence(unit: Mapping[str, Any]) -> str:
    """Return one sentence on the MS score of a unit and its chance level."""
    if not unit["alive"]:
        return "Dead unit: it is active on no evaluation image, so it has no score and no images."
    score, chance = _number(unit["ms_score"]), chance_of(unit)
    if score is None:
        return "Its MS score is undefined or was not measured."
    if chance is None:
        return f"MS {score:.2f}. No chance level is stored, so the score has no scale."
    token = "CLS or register tokens" if is_prefix_unit(unit) else "patches"
    lead = round(score - chance, 2)
    alike = "no more" if lead <= 0 else "slightly more" if lead < _SLIGHT else "more"
    return (
        f"MS {score:.2f}, chance {chance:.2f}: where the unit is strongest, its images are {alike} alike to the layer "
        f"than random images at {token}."
    )


def class_finding(classes: Sequence[str], set_counts: Mapping[str, int], chance: float | None) -> str:
    """Return the commonest class of the top images, beside what random images would have.

    Args:
        classes: of the top images on which the unit is active, strongest first; "" has no class. At least one has one.
        set_counts: class -> number of its images in the whole set.
        chance: expected share of the commonest class of as many random images.
    """
    names = [name for name in classes if name]
    commonest = max(dict.fromkeys(names), key=names.count)
    count, total = classes.count(commonest), len(classes)
    finding = f"{count} of the {total} strongest are {visible(commonest)} ({100 * count / total:.0f} %)"
    level = _number(chance)
    if level is None:
        share = set_counts.get(commonest, 0) / (sum(set_counts.values()) or 1)
        return f"{finding}, as are {100 * share:.0f} % of all images."
    if count / total <= level:
        return f"{finding}: no more than the commonest class of random images has ({100 * level:.0f} %)."
    return f"{finding}; the commonest class of random images has {100 * level:.0f} %."


def peak_finding(peaks: np.ndarray, maximum: float | None, n_images: int) -> str | None:
    """Return on how many images a unit comes near its largest activation; None if that is not known.

    The first two half octaves of `peaks` hold the images above a level between 50 % and 71 % of the maximum
    (`results/store/unit_maps.py`).
    """
    maximum = _number(maximum)
    # Beyond these the edges are not finite numbers.
    if not len(peaks) or maximum is None or not 1e-300 < maximum < 1e300:
        return None
    level = edges(2, maximum)[0] / maximum
    return f"Above {100 * level:.0f} % of its maximum on {int(peaks[:2].sum())} of {n_images} images"


def edges(n_bins: int, maximum: float) -> list[float]:
    """Return the ascending edges (n_bins + 1) of the first bins of `peaks`; the last one is at or above `maximum`."""
    last = math.ceil(2 * math.log2(maximum) - 1e-9)
    return [2.0 ** ((last - step) / 2) for step in range(n_bins, -1, -1)]


def place_finding(mean: np.ndarray) -> str | None:
    """Return in which third or ninth of the image a unit is active most, from its mean map; None if silent.

    Args:
        mean: (side, side).
    """
    total = float(mean.sum())
    if not total:
        return None
    side = len(mean)
    third = np.minimum(3 * (2 * np.arange(side) + 1) // (2 * side), 2)
    ninths = np.zeros((3, 3))
    np.add.at(ninths, (third[:, None], third[None, :]), mean / total)
    sizes = np.outer(np.bincount(third, minlength=3), np.bincount(third, minlength=3)) / side**2
    # Compared per area: with 16 cells the thirds are not equal.
    with np.errstate(invalid="ignore", divide="ignore"):
        density = np.where(sizes > 0, ninths / sizes, 0.0)
    largest = density.max()
    if largest < _EVEN:
        return "Active all over the image, and nowhere much more than elsewhere"
    row, column = (int(index) for index in np.unravel_index(int(density.argmax()), (3, 3)))
    about_equal = density >= _ABOUT_EQUAL * largest
    rows, columns = about_equal.any(1).sum(), about_equal.any(0).sum()
    if rows == 1 and columns > 1:
        where = _ROWS[row]
    elif columns == 1 and rows > 1:
        where = _COLUMNS[column]
    elif not about_equal[1, 1] and about_equal.sum() > 3:
        where = "border"
    else:
        where = "centre" if (row, column) == (1, 1) else f"{_ROWS[row]} {_COLUMNS[column]}"
    most = "up to " if about_equal.sum() > 1 else ""
    return f"Most active at the {where}: {most}{largest:.1f} times the average"


def mean_map(maps: np.ndarray, positions: Sequence[int]) -> np.ndarray | None:
    """Return the mean (side, side) of the maps whose maximum is at a patch; None if there is none."""
    kept = [map_ for map_, position in zip(maps, positions, strict=False) if position >= 0]
    return np.mean(kept, axis=0) if kept else None


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
