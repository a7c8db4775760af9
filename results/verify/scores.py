"""Checks of the scores of one cell: bounds, and relations between scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from results.store.records import DEVICE_UNITS, grouped
from results.verify.base import TOLERANCE, Checker, Content, check

#: Loss of a lossless reconstruction due to float32: in R2, and in agreement one image of a thousand on a tie.
LOSSLESS_R2, LOSSLESS_AGREEMENT = 1e-4, 1e-3
_UNIT, _SIGNED, _POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)
#: Bounds of metrics by id. Fractions lie in [0, 1] unless given here.
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("ms_score", "ms_score_null", "recovery", "recovery_cosine", "recovery_ari"), _SIGNED),
    # A mean cosine minus a penalty below 1 for atoms without a partner.
    **dict.fromkeys(("stability", "stability_alive", "stability_writer", "token_sensitivity"), (-2.0, 1.0)),
    **dict.fromkeys(("max_collinearity", "min_distinctness"), _UNIT),
    **dict.fromkeys(("nearest_cosine_mean", "nearest_cosine_median", "nearest_cosine_p95"), _UNIT),
    **dict.fromkeys(("polysemanticity", "polysemanticity_null"), _UNIT),
    # Differences of two differences of shares.
    **dict.fromkeys(("tpp", "tpp_2", "tpp_5", "tpp_20", "tpp_random", "probe_transfer_gain_change"), (-2.0, 2.0)),
    **dict.fromkeys(("kl", "l0", "expansion_factor", "efficiency_ratio", "parameters", "macs"), _POSITIVE),
    "encode_macs": _POSITIVE,
    "effective_rank": (1.0, math.inf),
    "fvu": _POSITIVE,
    # 1 - error has no lower bound.
    **dict.fromkeys(("r2", "r2_pooled"), (-math.inf, 1.0)),
    # A layer may be right where the unmodified network is wrong.
    "accuracy_recovered": (-math.inf, math.inf),
    "agreement_recovered": (-math.inf, 1.0),
}
#: Metrics that are adjusted for a chance level are below 0 if worse than chance.
ADJUSTED = "_adjusted"
#: Fractions that are differences of two shares.
DIFFERENCES = ("_gap", "_gain", "_excess", "_drop", "_change")
#: Shares of counted objects: value times n is a whole number.
COUNTED = ("accuracy", "agreement", "alive_fraction")


def bounds_of(score: Mapping[str, Any]) -> tuple[float, float]:
    """Return the smallest and the largest value that a score of this metric and unit can have."""
    metric, unit = score["metric"], score["unit"]
    if metric in RANGES:
        return RANGES[metric]
    if metric.endswith(ADJUSTED):
        return -math.inf, 1.0
    if unit == "fraction":
        return _SIGNED if metric.endswith(DIFFERENCES) else _UNIT
    return (0.0, math.inf) if unit in DEVICE_UNITS or unit in ("units", "steps", "reads") else (-math.inf, math.inf)


@check("ranges")
def ranges(content: Content, checker: Checker) -> None:
    """Check R2 <= 1, fractions in [0, 1], MS scores in [-1, 1], divergences not negative, no infinite values."""
    for score in content.scores:
        cell_id, metric, value, error = (score[name] for name in ("cell_id", "metric", "value", "uncertainty"))
        if error is not None:
            reason = f"has the standard error {error:g}; it must be finite and not negative."
            checker.require_of(cell_id, math.isfinite(error) and error >= 0, reason, metric)
        if score["n"] is not None:
            checker.require_of(cell_id, score["n"] >= 0, f"has n = {score['n']}; it must not be negative.", metric)
        if value is None or math.isnan(value):
            continue
        low, high = bounds_of(score)
        holds = math.isfinite(value) and low - TOLERANCE <= value <= high + TOLERANCE
        checker.require_of(cell_id, holds, f"is {value:g}; it must be {_between(low, high)}.", metric)


def _between(low: float, high: float) -> str:
    if math.isinf(low):
        return "finite" if math.isinf(high) else f"at most {high:g}"
    return f"finite and at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"


@check("relations")
def relations(content: Content, checker: Checker) -> None:
    """Check that scores that follow from others, or from the number of units, agree with them."""
    for cell in content.finished():

        def require(metric: str, holds: bool, reason: str, cell_id: str = cell["cell_id"]) -> None:
            checker.require_of(cell_id, holds, reason, metric)

        value = {
            metric: number
            for metric in content.by_cell.get(cell["cell_id"], {})
            if (number := content.value(cell, metric)) is not None
        }
        n_units, d_in, d_out = cell["n_units"], cell["d_in"], cell["d_out"]
        for metric in ("ms_score_adjusted", "ms_score_token_adjusted"):
            levels = _ms_levels(content, cell, metric)
            if metric in value and levels is not None and levels[1] < 1:
                expected = (levels[0] - levels[1]) / (1 - levels[1])
                reason = f"is {value[metric]:.6f}; (MS - null) / (1 - null) is {expected:.6f}."
                require(metric, _close(value[metric], expected), reason)
        if {"max_collinearity", "min_distinctness"} <= set(value):
            expected = 1 - value["max_collinearity"]
            reason = f"is {value['min_distinctness']:.6f}; 1 - max_collinearity is {expected:.6f}."
            require("min_distinctness", _close(value["min_distinctness"], expected), reason)
        if {"max_collinearity", "nearest_cosine_mean"} <= set(value):
            mean, largest = value["nearest_cosine_mean"], value["max_collinearity"]
            reason = f"is {mean:.6f}, and the largest is {largest:.6f}."
            require("nearest_cosine_mean", mean <= largest + TOLERANCE, reason)
        if n_units is not None and "l0" in value:
            reason = f"is {value['l0']:g}, and the cell has {n_units} units."
            require("l0", value["l0"] <= n_units + TOLERANCE, reason)
        if n_units is not None and d_out and "expansion_factor" in value:
            factor, expected = value["expansion_factor"], n_units / d_out
            reason = f"is {factor:g}, and {n_units} units for {d_out} outputs are {expected:g}."
            require("expansion_factor", _close(factor, expected), reason)
        if n_units is not None and d_in and d_out and "effective_rank" in value:
            most = min(n_units, max(d_in, d_out))
            reason = f"is {value['effective_rank']:g}, and {n_units} atoms span at most {most} directions."
            require("effective_rank", value["effective_rank"] <= most * (1 + TOLERANCE), reason)
            share = value.get("effective_rank_share")
            width = ((content.score(cell, "effective_rank") or {}).get("details") or {}).get("width")
            if share is not None and isinstance(width, int) and min(n_units, width) > 0:
                expected = value["effective_rank"] / min(n_units, width)
                reason = f"is {share:.6f}; the rank over min(units, width) is {expected:.6f}."
                require("effective_rank_share", _close(share, expected), reason)
        steps = value.get("evidence_gradients", 0)
        if cell["fit_seconds"] is not None and steps > 0:
            reason = (
                f"took {cell['fit_seconds']:g} s for {steps:g} gradient steps; a step takes more than 1 microsecond."
            )
            require("fit", cell["fit_seconds"] > 1e-6 * steps, reason)
        for metric in COUNTED:
            score = content.score(cell, metric)
            if metric in value and score is not None and score["n"]:
                count = value[metric] * score["n"]
                reason = f"is {value[metric]:g} over {score['n']}, which is {count:g} of them: not a whole number."
                is_whole = math.isfinite(count) and abs(count - round(count)) < 1e-6 * score["n"] + TOLERANCE
                require(metric, is_whole, reason)


def _ms_levels(content: Content, cell: Mapping[str, Any], metric: str) -> tuple[float, float] | None:
    """Return the mean MS score and chance level from which an adjusted score follows, or None if not known.

    In version 1, they are the two scores. Since version 2, they are means over the units with both, in its details.
    """
    adjusted = content.score(cell, metric)
    if adjusted is None or adjusted["version"] == 1:
        levels = [content.value(cell, metric) for metric in ("ms_score", "ms_score_null")]
    else:
        details = adjusted["details"] or {}
        levels = [details.get(metric) for metric in ("ms_score", "ms_score_null")]
    first, second = levels
    return None if first is None or second is None else (float(first), float(second))


def _close(value: float, expected: float) -> bool:
    return math.isclose(value, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


@check("lossless")
def lossless(content: Content, checker: Checker) -> None:
    """Check that methods that claim to be lossless reconstruct the layer: R2 = 1, agreement 1."""
    for cell in content.finished():
        claims = cell["claims"] or {}
        if not claims.get("lossless") or claims.get("virtual"):
            continue
        for metric, tolerance in (("r2", LOSSLESS_R2), ("agreement", LOSSLESS_AGREEMENT)):
            value = content.value(cell, metric)
            if value is not None and math.isfinite(value):
                reason = f"is {value:.6f}; it must be 1, since the method claims to be lossless."
                checker.require_of(cell["cell_id"], value >= 1 - tolerance, reason, metric)


@check("backbone")
def backbone(content: Content, checker: Checker) -> None:
    """Check that the identity changes nothing: accuracy of the unmodified network, agreement 1, one unit per output."""
    for cell in content.finished():
        if cell["method"] != "identity":
            continue
        cell_id = cell["cell_id"]
        accuracy, original = content.value(cell, "accuracy"), content.value(cell, "floor_original_accuracy")
        if accuracy is not None and original is not None:
            reason = f"is {accuracy:.6f}, and that of the unmodified network is {original:.6f}."
            checker.require_of(cell_id, abs(accuracy - original) < TOLERANCE, reason, "accuracy")
        agreement = content.value(cell, "agreement")
        if agreement is not None:
            holds = agreement >= 1 - TOLERANCE
            checker.require_of(cell_id, holds, f"is {agreement:.6f}; it must be 1.", "agreement")
        if cell["n_units"] is not None and cell["d_out"] is not None:
            reason = f"has {cell['n_units']} units for {cell['d_out']} outputs."
            checker.require_of(cell_id, cell["n_units"] == cell["d_out"], reason)


#: Metric and version -> tolerance between cells of several devices, for values that do not depend on the method.
_BASELINE_TOLERANCE = {("ms_score_null", 1): 1e-3}


@check("baseline")
def baseline(content: Content, checker: Checker) -> None:
    """Check that values that depend only on the unmodified network and the images agree within one evaluation set."""
    scores = [score for score in content.scores if score["value"] is not None and math.isfinite(score["value"])]
    groups = grouped(scores, itemgetter("backbone", "site", "evaluation_fingerprint", "metric", "version"))
    titled = [(*key[3:], f"{key[3]} at {key[0]} {key[1]}", groups[key]) for key in sorted(groups, key=str)]
    for metric, version, where, group in titled:
        if metric.startswith("floor_") or (metric, version) in _BASELINE_TOLERANCE:
            low, high = min(score["value"] for score in group), max(score["value"] for score in group)
            reason = f"is {low:.6f} to {high:.6f} over {len(group)} cells; it does not depend on the method."
            # Floors may differ by device in the last digits, but a predicted class is either right or wrong.
            checker.require(high - low < _BASELINE_TOLERANCE.get((metric, version), 0.02), where, reason)
    for metric, _, where, group in titled:
        counts = [score["n"] for score in group if score["n"] is not None]
        if metric in ("accuracy", "agreement") and counts:
            reason = (
                f"is over {min(counts)} images in one cell and {max(counts)} in another, so they cannot be ranked: "
                "some images could not be read; run the suite again with --rerun."
            )
            checker.require(min(counts) == max(counts), where, reason)
