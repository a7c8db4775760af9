"""Agreement of the MS score with the judges' win rate, over the methods of each judged board of a store.

The planted truth has no judges, and judged layers have no planted truth: the two are connected only through methods
that have both scores. The rank correlation says if a method with a larger MS score also wins more comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm, spearmanr

from harness.planted.report import formatted
from harness.planted.statistics import LEVEL, ValueWithInterval
from results import Store
from results.store.judgments import win_rates
from results.tables import Table

#: Scores that are compared with the win rate.
METRICS = ("ms_score", "ms_score_adjusted", "ms_score_token_adjusted")

#: Minimum number of rows of a board.
FEWEST = 4

NOTE = (
    "Spearman's rank correlation over the rows of one board, each row one method and configuration, with the 95 % "
    "interval of Bonett and Wright (2000). Boards are not pooled, because they share methods. Configurations of one "
    "method are not independent rows, so intervals may be too narrow."
)


class BoardAgreement(NamedTuple):
    """Agreement of MS scores and win rates on one judged board."""

    backbone: str
    site: str
    panel: str
    rows: list[dict[str, Any]]
    """label, win_rate and scores of each method; None for a score that it does not have"""
    correlations: dict[str, ValueWithInterval]
    """score -> its rank correlation with the win rate"""


def agreements(store: Store, backbone: str | None = None) -> list[BoardAgreement]:
    """Return the agreement on the last judged board of each layer and panel with at least :data:`FEWEST` methods.

    Args:
        store: store with tournaments and scores.
        backbone: only boards of this backbone; None means all.
    """
    rates = win_rates(store)
    scores = pd.concat([store.scores(metric=metric) for metric in METRICS], ignore_index=True)
    if rates.empty or scores.empty:
        return []
    # Scores of different versions have different meanings, so only the latest is used.
    scores = scores[scores["version"] == scores.groupby("metric")["version"].transform("max")]
    boards: dict[tuple[str, str, str], BoardAgreement] = {}
    for _, of_tournament in rates.groupby("tournament", sort=False):
        board = _board(of_tournament, scores)
        if board is not None and backbone in (None, board.backbone):
            boards[board.backbone, board.site, board.panel] = board
    return list(boards.values())


def _board(rates: pd.DataFrame, scores: pd.DataFrame) -> BoardAgreement | None:
    """Return the agreement on one tournament, or None with too few methods that have both scores."""
    rows: list[dict[str, Any]] = []
    layer = None
    for rate in rates.to_dict("records"):
        of_row = scores[scores["cell_id"].isin(rate["cell_ids"])]
        means = of_row.groupby("metric")["value"].mean()
        if means.dropna().empty or rate["win_rate"] is None or math.isnan(rate["win_rate"]):
            continue
        layer = of_row.iloc[0]
        values = {metric: float(means[metric]) if metric in means.dropna() else None for metric in METRICS}
        rows.append({"label": rate["label"], "win_rate": float(rate["win_rate"]), **values})
    if layer is None or len(rows) < FEWEST:
        return None
    frame = pd.DataFrame(rows).astype(dict.fromkeys(METRICS, float))
    correlations = {}
    for metric in METRICS:
        scored = frame[frame[metric].notna()]
        correlations[metric] = spearman(scored[metric].to_numpy(), scored["win_rate"].to_numpy())
    return BoardAgreement(layer["backbone"], layer["site"], rates["panel"].iloc[0], rows, correlations)


def spearman(x: np.ndarray, y: np.ndarray) -> ValueWithInterval:
    """Return Spearman's correlation of x (n,) and y (n,) with its 95 % interval.

    The interval is that of Fisher's z with the standard error ``sqrt((1 + rho^2 / 2) / (n - 3))`` (Bonett and Wright,
    Psychometrika 65, 2000). It is undefined for fewer than four values, without variety, and for a correlation of 1.
    """
    if len(x) < FEWEST or not np.ptp(x) or not np.ptp(y):
        return ValueWithInterval(math.nan, math.nan, math.nan)
    rho = float(spearmanr(x, y).statistic)
    if abs(rho) > 1 - 1e-9:
        return ValueWithInterval(rho, math.nan, math.nan)
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    return ValueWithInterval(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))


def table(boards: Sequence[BoardAgreement]) -> Table:
    """Return the table of the rank correlations."""
    rows = [
        [
            f"{board.backbone} {board.site}",
            board.panel,
            str(len(board.rows)),
            *(formatted(board.correlations[metric], "+", 2) for metric in METRICS),
        ]
        for board in boards
    ]
    return Table(
        "MS score and win rate: rank correlation over the methods of each judged board",
        ["layer", "panel", "rows", *METRICS],
        rows,
        numeric=(False, False, True, *(True for _ in METRICS)),
        notes=[NOTE],
    )


def as_json(boards: Sequence[BoardAgreement]) -> list[dict[str, Any]]:
    """Return one object per board. NaN becomes None."""
    return [
        {
            "backbone": board.backbone,
            "site": board.site,
            "panel": board.panel,
            "rows": board.rows,
            "rank_correlations": {
                metric: {name: None if math.isnan(value) else value for name, value in found._asdict().items()}
                for metric, found in board.correlations.items()
            },
        }
        for board in boards
    ]
