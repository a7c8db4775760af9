"""Agreement of two judges of any panels on the questions that both have answered: the same grids in the same order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from results.store import Store

N_RESAMPLES = 2000
LEVEL = 0.95
#: Fewest unit pairs from which an interval is computed: resamples of a few are all alike.
LEAST_PAIRS = 10
#: Most people, and most models, that are compared: of more, those with most answers.
MAX_JUDGES = 20
_PEOPLE = "people/"
# Columns of the counts of a unit pair: both A, A and B, B and A, both B.
_KINDS = {("A", "A"): 0, ("A", "B"): 1, ("B", "A"): 2, ("B", "B"): 3}


class Agreement(NamedTuple):
    """Agreement of two judges."""

    judge: str
    """id of the judge; people come first"""
    other: str
    n_questions: int
    """questions that both have answered with A or B, without controls"""
    n_pairs: int
    """unit pairs among them"""
    same: float
    """share of equal answers"""
    kappa: float | None
    """Cohen's kappa: 1 is perfect agreement, 0 is chance; None if both judges gave one and the same answer always"""
    low: float | None
    """95 % interval of kappa, by resampling unit pairs; None for fewer than `LEAST_PAIRS`"""
    high: float | None


def judge_agreements(store: Store, tournament: str | None = None) -> list[Agreement]:
    """Return the agreement of each two judges in a store with common questions, people against models first.

    Args:
        store: the store.
        tournament: only questions of this tournament; replies of all judges to them count, whatever their tournament.

    Raises:
        StoreError: the store cannot be read.
    """
    where = (
        "WHERE (grid_a, grid_b) IN (SELECT (grid_a, grid_b) FROM comparisons WHERE tournament = ?)"
        if tournament is not None
        else ""
    )
    frame = store.query(
        f"SELECT judge, prompt_version, grid_a, grid_b, answer FROM replies {where} QUALIFY row_number() OVER "
        "(PARTITION BY judge, prompt_version, grid_a, grid_b ORDER BY attempt DESC) = 1",
        [] if tournament is None else [tournament],
    )
    frame = frame[frame["answer"].isin(["A", "B"]) & (frame["grid_a"] != frame["grid_b"])]
    versions = frame.groupby("judge")["prompt_version"].nunique()
    answers: dict[str, dict[tuple[str, str], str]] = {}
    for judge, version, grid_a, grid_b, answer in frame.itertuples(index=False):
        # Replies to different prompts are never mixed.
        name = judge if versions[judge] == 1 else f"{judge} ({version})"
        answers.setdefault(name, {})[grid_a, grid_b] = answer
    return agreements(answers)


def agreements(answers: Mapping[str, Mapping[tuple[str, str], str]]) -> list[Agreement]:
    """Return the agreement of each two judges from judge -> (grid A, grid B) -> answer."""
    judges = sorted(answers, key=lambda judge: (not judge.startswith(_PEOPLE), -len(answers[judge]), judge))
    people = [judge for judge in judges if judge.startswith(_PEOPLE)]
    models = [judge for judge in judges if not judge.startswith(_PEOPLE)]
    rows = []
    for judge, other in itertools.combinations([*people[:MAX_JUDGES], *models[:MAX_JUDGES]], 2):
        common = sorted(answers[judge].keys() & answers[other].keys())
        if common:
            counts = _counts(common, [(answers[judge][key], answers[other][key]) for key in common])
            rows.append(_agreement(judge, other, counts))
    return sorted(rows, key=_position)


def _position(row: Agreement) -> tuple[int, int, str, str]:
    """Return the order of a row: people against models, people among themselves, models among themselves."""
    n_people = sum(judge.startswith(_PEOPLE) for judge in (row.judge, row.other))
    return (2, 0, 1)[n_people], -row.n_questions, row.judge, row.other


def kappa_of(counts: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa (1960) of tables (..., 4) of counts AA, AB, BA, BB; NaN if the expected agreement is 1.

    It is ``(p_o - p_e) / (1 - p_e)`` with the observed agreement ``p_o`` and that expected from the judges' own shares
    of A and B, ``p_e = p_A q_A + p_B q_B``.
    """
    both_a, a_b, b_a, both_b = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    n = both_a + a_b + b_a + both_b
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (both_a + both_b) / n
        first, second = (both_a + a_b) / n, (both_a + b_a) / n
        expected = first * second + (1 - first) * (1 - second)
        kappa: np.ndarray = np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
    return kappa


def kappa_interval(counts: np.ndarray, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> tuple[float, float] | None:
    """Return the percentile interval of kappa from resamples of the G unit pairs with counts (G, 4).

    It is None for fewer than `LEAST_PAIRS` of them, and if kappa is undefined in all resamples. The two orders of a
    unit pair are resampled together. Unit pairs with equal counts are interchangeable, so a resample is a multinomial
    draw of their kinds, of which there are few.
    """
    if len(counts) < LEAST_PAIRS:
        return None
    kinds, sizes = np.unique(counts, axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(counts), sizes / len(counts), size=n_resamples)
    kappas = kappa_of(draws @ kinds)
    if np.isnan(kappas).all():
        return None
    low, high = np.nanquantile(kappas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return _rounded(low), _rounded(high)


def _rounded(value: float | np.ndarray) -> float:
    """Return a kappa without the last digits, so that one of chance is 0 and not a tiny number or minus zero."""
    return round(float(value), 12) + 0.0


def _counts(questions: Sequence[tuple[str, str]], votes: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return the (G, 4) counts per unit pair: the two orders of a pair show the same two grids."""
    index: dict[tuple[str, ...], int] = {}
    counts = np.zeros((len(questions), 4), dtype=np.int64)
    for question, vote in zip(questions, votes, strict=True):
        counts[index.setdefault(tuple(sorted(question)), len(index)), _KINDS[vote]] += 1
    return counts[: len(index)]


def _agreement(judge: str, other: str, counts: np.ndarray) -> Agreement:
    total = counts.sum(axis=0)
    n = int(total.sum())
    kappa = _rounded(kappa_of(total))
    interval = None if math.isnan(kappa) else kappa_interval(counts)
    low, high = interval or (None, None)
    same = float((total[0] + total[3]) / n)
    return Agreement(judge, other, n, len(counts), same, None if math.isnan(kappa) else kappa, low, high)
