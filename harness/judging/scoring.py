"""Win rates from stored replies; needs no judges, images or networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.errors import UserError
from harness.stats import bradley_terry, judge_health, krippendorff_alpha, pairwise, win_rates
from results import Store
from results.store import judgments
from results.store.judgments import TournamentRecord
from results.store.records import records_of

#: Version of the definition of the win rate; different versions are never ranked together.
WIN_RATE_VERSION = 1


def rescore(store: Store, tournaments: Sequence[str] | None = None) -> list[str]:
    """Recompute the win rates of tournaments (default: all) from the stored replies, and return their ids.

    Raises:
        StoreError: if the store cannot be read or written.
    """
    frame = judgments.tournaments(store)
    if tournaments is not None:
        frame = frame[frame["tournament"].isin(list(tournaments))]
    cells = store.query("SELECT cell_id, config_id, label FROM cells")
    for row in frame.to_dict("records"):
        _score(store, row, cells)
    return list(frame["tournament"])


def _score(store: Store, row: dict[str, Any], cells: pd.DataFrame) -> None:
    answers = judgments.judgments(store, row["tournament"])
    method = dict(zip(cells["cell_id"], cells["config_id"] + ":" + cells["label"], strict=True))
    # Replies about cells that have been deleted from the store are ignored.
    answers = answers[answers["cell_a"].isin(method) & answers["cell_b"].isin(method)]
    frame = answers.assign(method_a=answers["cell_a"].map(method), method_b=answers["cell_b"].map(method))
    real = frame[frame["method_a"] != frame["method_b"]]
    rates = win_rates(frame).merge(_strengths(frame), on="method", how="left")
    # Every unit is grid A in one of its pair's two orders.
    of_method = real.groupby("method_a")["cell_a"].unique().map(sorted)
    identity = cells.set_index("cell_id")[["config_id", "label"]]
    for name in ("config_id", "label"):
        rates[name] = [identity[name][of_method[key][0]] for key in rates["method"]]
    rates["cell_ids"] = [of_method[key] for key in rates["method"]]
    judgments.record_tournament(
        store,
        TournamentRecord(
            tournament=row["tournament"],
            panel=row["panel"],
            judges=row["judges"],
            prompt_version=row["prompt_version"],
            settings=row["settings"],
            n_comparisons=int(real.drop_duplicates(["pair_id", "order"]).shape[0]),
            n_ties=int(rates["ties"].sum()) // 2,
            n_missing=int((~frame["replied"].astype(bool)).sum()),
            agreement=krippendorff_alpha(frame),
            health=records_of(judge_health(frame)),
            pairwise=records_of(pairwise(frame).drop(columns="win_rate")),
            notes=row["notes"] or [],
        ),
        rates,
    )


def _strengths(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Bradley-Terry scores; empty if their package is missing, since the win rates do not need it."""
    try:
        return bradley_terry(frame)[["method", "strength"]]
    except UserError:
        return pd.DataFrame({"method": pd.Series(dtype=object), "strength": pd.Series(dtype="float64")})
