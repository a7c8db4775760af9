"""Table of the labels of units, from the scores of concepts and their null."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from harness.errors import UserError
from harness.steering.scorers.base import Scored, Scorer
from results.store.labels import COLUMNS
from results.visible_text import visible

#: Best labels that are stored per unit.
RANKS = 5
#: Quantile of the null above which a unit counts as labelled.
NULL_QUANTILE = 0.95
#: Longest concept in characters.
MOST_CHARACTERS = 200
#: Scores that are sorted at once.
_BLOCK = 20_000_000


def labels_frame(scored: Scored) -> pd.DataFrame:
    """Return one row per unit and rank with the columns of :data:`results.store.labels.COLUMNS`, best labels first.

    Of equal scores, that of the earlier concept comes first. Units without a finite score have no row.
    """
    size = max(1, _BLOCK // max(len(scored.concepts), 1))
    parts = [
        _rows(scored, start, scored.scores[start : start + size], scored.null[:, start : start + size])
        for start in range(0, len(scored.scores), size)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COLUMNS])


def _rows(scored: Scored, start: int, scores: Tensor, null: Tensor) -> pd.DataFrame:
    finite = scores.double().masked_fill(~torch.isfinite(scores), -math.inf)
    best, concept = finite.sort(dim=1, descending=True, stable=True)
    best, concept = best[:, :RANKS], concept[:, :RANKS]
    null = null.double()
    quantile = torch.nanquantile(null, NULL_QUANTILE, dim=0)
    n_draws = (~null.isnan()).sum(0)
    p_value = torch.stack([((null >= best[:, rank]).sum(0) + 1) / (n_draws + 1) for rank in range(best.shape[1])], 1)
    unit, rank = torch.isfinite(best).nonzero(as_tuple=True)
    return pd.DataFrame(
        {
            "unit": (start + unit).numpy().astype(np.int32),
            "rank": (rank + 1).numpy().astype(np.int32),
            "label": [scored.concepts[number] for number in concept[unit, rank].tolist()],
            "score": best[unit, rank].numpy(),
            "null_score": quantile[unit].numpy(),
            "p_value": torch.where(n_draws[unit] > 0, p_value[unit, rank], math.nan).numpy(),
        }
    )


def require_scored(scorer: Scorer, scored: object, n_units: int) -> Scored:
    """Return what a scorer returned.

    Raises:
        UserError: unless it is one score per unit and concept, a null per unit, and concepts that can be shown.
    """
    name = scorer.name
    if not isinstance(scored, Scored):
        raise UserError(f"The scorer {name} returns a {type(scored).__name__}; score must return a Scored.")
    if not isinstance(scored.scores, Tensor) or not isinstance(scored.null, Tensor):
        raise UserError(f"The scorer {name} returns scores or a null that are no tensors: use torch.from_numpy.")
    if not scored.concepts or not all(isinstance(concept, str) for concept in scored.concepts):
        raise UserError(
            f"The scorer {name} returns {len(scored.concepts)} concepts; give a tuple of one or more texts."
        )
    for concept in scored.concepts:
        if not concept.strip() or len(concept) > MOST_CHARACTERS or visible(concept, keep="") != concept:
            raise UserError(
                f"The scorer {name} returns the concept {visible(concept[:60], keep='')!r}: it must have 1 to "
                f"{MOST_CHARACTERS} characters without control characters."
            )
    expected = (n_units, len(scored.concepts))
    has_null = scored.null.ndim == 2 and scored.null.shape[0] > 0 and scored.null.shape[1] == n_units
    if tuple(scored.scores.shape) != expected or not has_null:
        raise UserError(
            f"The scorer {name} returns scores {tuple(scored.scores.shape)} and a null {tuple(scored.null.shape)} for "
            f"{n_units} units and {len(scored.concepts)} concepts: scores must be {expected} and the null (draws, "
            f"{n_units}) with at least one draw."
        )
    return scored
