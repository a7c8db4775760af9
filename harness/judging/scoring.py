"""Win rates from stored replies; needs no judges, images or networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.errors import UserError
from harness.stats import bradley_terry, judge_health, krippendorff_alpha, n_shared_pairs, pairwise, win_rates
from results import Store
from results.store import judgments
from results.store.judgments import TournamentRecord
from results.store.records import consensus_of_answers, records_of

#: Version of the definition of the win rate; different versions are never ranked together. Version 1 had a consensus
#: from one valid vote, and pooled the comparisons with all opponents.
WIN_RATE_VERSION = 2


def rescore(store: Store, tournaments: Sequence[str] | None = None) -> list[str]:
    """Recompute the win rates of tournaments (default: all) from the stored replies, and return their ids.

    They are scored by the definition :data:`WIN_RATE_VERSION`, whatever the version was before.

    Raises:
        StoreError: if the store cannot be read or written.
    """
    frame = judgments.tournaments(store)
    if tournaments is not None:
        frame = frame[frame["tournament"].isin(list(tournaments))]
    cells = store.query("SELECT cell_id, config_id, label FROM cells")
    for row in frame.to_dict("records"):
        if consensus_of_answers(row["settings"]):
            _add_judges(store, row)
        _score(store, row, cells)
    return list(frame["tournament"])


def _add_judges(store: Store, row: dict[str, Any]) -> None:
    """Add whoever has a reply to a tournament that judges join freely to its judges.

    The files of votes may have stayed on another machine, or the replies come from a store that was merged.
    """
    kind = f"{row['panel'].partition(':')[0]}/"
    replied = judgments.answers_by_judge(store, row["tournament"])["judge"]
    judges = sorted({*row["judges"], *(judge for judge in replied if judge.startswith(kind))})
    judgments.record_judges(store, row["tournament"], judges)
    row["judges"] = judges


def _score(store: Store, row: dict[str, Any], cells: pd.DataFrame) -> None:
    answers = judgments.judgments(store, row["tournament"])
    method = dict(zip(cells["cell_id"], cells["config_id"] + ":" + cells["label"], strict=True))
    # Replies about cells that have been deleted from the store are ignored.
    answers = answers[answers["cell_a"].isin(method) & answers["cell_b"].isin(method)]
    frame = answers.assign(method_a=answers["cell_a"].map(method), method_b=answers["cell_b"].map(method))
    frame = frame.assign(**{f"unit_{side}": sampling_units(frame, side) for side in ("a", "b")})
    real = frame[frame["method_a"] != frame["method_b"]]
    n_missing = int((~frame["replied"].astype(bool)).sum())
    if consensus_of_answers(row["settings"]):
        if frame.empty:
            n_missing = len(judgments.comparisons(store, row["tournament"]))
        else:
            frame, n_missing = _answered(frame)
        if not (frame["method_a"] != frame["method_b"]).any():
            return _record_unanswered(store, row, n_missing)
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
            settings={**row["settings"], "version": WIN_RATE_VERSION},
            n_comparisons=int(real.drop_duplicates(["pair_id", "order"]).shape[0]),
            n_ties=int(rates["ties"].sum()) // 2,
            n_missing=n_missing,
            agreement=krippendorff_alpha(frame),
            n_shared=n_shared_pairs(frame),
            health=records_of(judge_health(frame)),
            pairwise=records_of(pairwise(frame).drop(columns="win_rate")),
            notes=row["notes"] or [],
        ),
        rates,
    )


def _record_unanswered(store: Store, row: dict[str, Any], n_missing: int) -> None:
    """Record that nobody has answered yet, without win rates: a board shows no column without a number."""
    record = TournamentRecord(
        tournament=row["tournament"],
        panel=row["panel"],
        judges=row["judges"],
        prompt_version=row["prompt_version"],
        settings={**row["settings"], "version": WIN_RATE_VERSION},
        n_missing=n_missing,
        notes=row["notes"] or [],
    )
    judgments.record_tournament(store, record, pd.DataFrame())


def _answered(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the comparisons that somebody answered, with the column asked, and the number of the others."""
    frame = frame.assign(asked=frame["replied"].astype(bool))
    answered = frame.groupby(["pair_id", "order"])["asked"].transform("any").astype(bool)
    return frame[answered], int(frame[~answered].drop_duplicates(["pair_id", "order"]).shape[0])


def sampling_units(frame: pd.DataFrame, side: str) -> pd.Series:
    """Return the names of the sampling units on one side ("a" or "b") of stored comparisons.

    As in `harness compare`, it is the neuron if the unit is a part of one, so that all methods that split the same
    neuron share it, else the unit of the method, which has the same index for all token seeds.
    """
    of_method = frame[f"method_{side}"] + " " + frame[f"unit_{side}"].astype(str)
    parent = frame[f"parent_{side}"]
    of_neuron = "neuron " + parent.astype("Int64").astype(str)
    return of_method.where(parent.isna(), of_neuron)


def _strengths(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Bradley-Terry scores; empty if their package is missing, since the win rates do not need it."""
    try:
        return bradley_terry(frame)[["method", "strength"]]
    except UserError:
        return pd.DataFrame({"method": pd.Series(dtype=object), "strength": pd.Series(dtype="float64")})
