"""Checks of shares of images and of what follows from them, and of the two forms of the pooled R2."""

from __future__ import annotations

import math

from results.store.outcomes import ImageOutcome
from results.store.records import records_of
from results.verify.base import TOLERANCE, Checker, Content, check


@check("outcomes")
def outcomes(content: Content, checker: Checker) -> None:
    """Check that the outcomes of the images give the share that is a score, over as many images."""
    cells = {cell["cell_id"]: cell for cell in content.finished()}
    frame = content.store.query("SELECT cell_id, metric, n, counted, positive FROM outcomes ORDER BY cell_id, metric")
    for row in records_of(frame):
        cell, metric = cells.get(row["cell_id"]), row["metric"]
        score = None if cell is None else content.score(cell, metric)
        if score is None:
            continue
        stored = ImageOutcome.unpacked(row["n"], row["counted"], row["positive"])
        if stored is None:
            checker.require_of(row["cell_id"], False, f"has outcomes of another length than {row['n']} images.", metric)
            continue
        value, count = score["value"], int(stored.counted.sum())
        same = value is None or math.isnan(value) or abs(value - stored.share) < TOLERANCE
        reason = f"is {value}, and {stored.share:.6f} by the outcomes of its images."
        checker.require_of(row["cell_id"], same, reason, metric)
        reason = f"is over {score['n']} images, and {count} images have an outcome."
        checker.require_of(row["cell_id"], score["n"] is None or score["n"] == count, reason, metric)


@check("recovered")
def recovered(content: Content, checker: Checker) -> None:
    """Check that recovered shares and the pooled R2 follow from the scores that they are computed from."""
    for cell in content.finished():
        for metric in ("accuracy", "agreement"):
            ceiling = content.value(cell, "floor_original_accuracy") if metric == "accuracy" else 1.0
            share, floor = content.value(cell, metric), content.value(cell, f"floor_mean_{metric}")
            of_effect = content.value(cell, f"{metric}_recovered")
            if ceiling is not None and share is not None and floor is not None and of_effect is not None:
                expected = floor + of_effect * (ceiling - floor)
                reason = f"is {of_effect:.6f}, which means {metric} {expected:.6f}; that is {share:.6f}."
                checker.require_of(cell["cell_id"], abs(share - expected) < TOLERANCE, reason, f"{metric}_recovered")
        fvu, pooled = content.value(cell, "fvu"), content.value(cell, "r2_pooled")
        if fvu is not None and pooled is not None:
            holds = math.isclose(pooled, 1 - fvu, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
            checker.require_of(cell["cell_id"], holds, f"is {pooled:.6f}; 1 - fvu is {1 - fvu:.6f}.", "r2_pooled")
