"""Checks of shares of images, of jackknife errors, and of the two forms of the pooled R2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from results.store.outcomes import ImageOutcome
from results.store.records import records_of
from results.verify.base import TOLERANCE, Checker, Content, check

#: Relative tolerance of a standard error that is computed again.
_ERROR_TOLERANCE = 1e-4


@check("outcomes")
def outcomes(content: Content, checker: Checker) -> None:
    """Check that the outcomes of the images give the share that is a score, over as many images."""
    cells = {cell["cell_id"]: cell for cell in content.finished()}
    for row in _stored(content):
        cell, metric = cells.get(row["cell_id"]), row["metric"]
        score = None if cell is None else content.score(cell, metric)
        if score is None:
            continue
        stored = _unpacked(row)
        if stored is None:
            checker.require_of(row["cell_id"], False, f"has outcomes of another length than {row['n']} images.", metric)
            continue
        value, count = score["value"], int(stored.counted.sum())
        same = value is None or math.isnan(value) or abs(value - stored.share) < TOLERANCE
        reason = f"is {value}, and {stored.share:.6f} by the outcomes of its images."
        checker.require_of(row["cell_id"], same, reason, metric)
        reason = f"is over {score['n']} images, and {count} images have an outcome."
        checker.require_of(row["cell_id"], score["n"] is None or score["n"] == count, reason, metric)
        if score["uncertainty"] is not None and count:
            error = _share_error(stored.share, count)
            reason = f"has the standard error {score['uncertainty']:.6g}, and that of its outcomes is {error:.6g}."
            holds = math.isclose(score["uncertainty"], error, rel_tol=_ERROR_TOLERANCE)
            checker.require_of(row["cell_id"], holds, reason, metric)


def _share_error(share: float, n: int) -> float:
    """Return the half-width of the 68 % Wilson interval of a share of n images."""
    return math.sqrt(share * (1 - share) / n + 1 / (4 * n * n)) / (1 + 1 / n)


@check("jackknife")
def jackknife(content: Content, checker: Checker) -> None:
    """Check R2 and FVU against their estimates without one group of images each, which also give the error."""
    for score in content.scores:
        without = (score["details"] or {}).get("without_group")
        value, stated = score["value"], score["uncertainty"]
        if not isinstance(without, list) or not all(isinstance(one, (int, float)) for one in without):
            continue  # of another metric, or undefined for a group
        if len(without) < 2 or value is None or stated is None or not math.isfinite(value):
            continue
        error = math.sqrt((len(without) - 1) * float(np.var(without)))
        reason = f"has the standard error {stated:.6g}, and its estimates without one group give {error:.6g}."
        holds = math.isclose(stated, error, rel_tol=_ERROR_TOLERANCE, abs_tol=1e-12)
        checker.require_of(score["cell_id"], holds, reason, score["metric"])
        low, high = min(without), max(without)
        reason = f"is {value:.6f}, and its estimates without one group of images are {low:.6f} to {high:.6f}."
        holds = low - error - TOLERANCE <= value <= high + error + TOLERANCE
        checker.require_of(score["cell_id"], holds, reason, score["metric"])


@check("recovered")
def recovered(content: Content, checker: Checker) -> None:
    """Check that recovered shares and the pooled R2 follow from the scores that they are computed from."""
    outcomes_of = {(row["cell_id"], row["metric"]): _unpacked(row) for row in _stored(content)}
    for cell in content.finished():
        for metric in ("accuracy", "agreement"):
            ceiling = content.value(cell, "floor_original_accuracy") if metric == "accuracy" else 1.0
            share, floor = content.value(cell, metric), content.value(cell, f"floor_mean_{metric}")
            of_effect = content.value(cell, f"{metric}_recovered")
            if ceiling is not None and share is not None and floor is not None and of_effect is not None:
                expected = floor + of_effect * (ceiling - floor)
                reason = f"is {of_effect:.6f}, which means {metric} {expected:.6f}; that is {share:.6f}."
                checker.require_of(cell["cell_id"], abs(share - expected) < TOLERANCE, reason, f"{metric}_recovered")
                stored = [outcomes_of.get((cell["cell_id"], name)) for name in (metric, f"floor_mean_{metric}")]
                stored.append(outcomes_of.get((cell["cell_id"], "floor_original_accuracy")))
                if metric == "agreement":
                    stored[2] = None if stored[0] is None else ImageOutcome(stored[0].counted, stored[0].counted)
                error = _recovered_error(of_effect, *stored)
                stated = (content.score(cell, f"{metric}_recovered") or {}).get("uncertainty")
                if error is not None and stated is not None:
                    reason = f"has the standard error {stated:.6g}, and that of its outcomes is {error:.6g}."
                    holds = math.isclose(stated, error, rel_tol=_ERROR_TOLERANCE)
                    checker.require_of(cell["cell_id"], holds, reason, f"{metric}_recovered")
        fvu, pooled = content.value(cell, "fvu"), content.value(cell, "r2_pooled")
        if fvu is not None and pooled is not None:
            holds = math.isclose(pooled, 1 - fvu, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
            checker.require_of(cell["cell_id"], holds, f"is {pooled:.6f}; 1 - fvu is {1 - fvu:.6f}.", "r2_pooled")


def _stored(content: Content) -> list[dict[str, Any]]:
    """Return the rows of the table `outcomes`."""
    columns = "cell_id, metric, n, counted, positive"
    return records_of(content.store.query(f"SELECT {columns} FROM outcomes ORDER BY cell_id, metric"))


def _unpacked(row: Mapping[str, Any]) -> ImageOutcome | None:
    return ImageOutcome.unpacked(row["n"], row["counted"], row["positive"])


def _recovered_error(
    value: float, share: ImageOutcome | None, ablated: ImageOutcome | None, original: ImageOutcome | None
) -> float | None:
    """Return the standard error of a recovered share from the outcomes of the same images; None if they are missing.

    It is that of the linearised ratio, as if two more images differed (:mod:`harness.metrics.recovered_share`).
    """
    if share is None or ablated is None or original is None or len(share.counted) < 2:
        return None
    if not len(share.counted) == len(ablated.counted) == len(original.counted):
        return None
    a, m, o = (one.positive[share.counted].astype(np.float64) for one in (share, ablated, original))
    n, effect = len(a), float(np.mean(o - m)) if len(a) else 0.0
    if n < 2 or effect <= 0:
        return None
    variance = float(np.var(a - value * o - (1 - value) * m, ddof=1))
    return math.sqrt(variance / n + 2 / n**2) / effect
