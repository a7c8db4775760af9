"""Reliability of judges: consistency, position bias and agreement."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from harness.stats.consensus import ASKED, ATTEMPT, TIE, checked


def judge_health(judgments: pd.DataFrame) -> pd.DataFrame:
    """Return measures of each judge's reliability.

    Returns:
        One row per judge, sorted by name:

        - ``n``: number of questions; ``invalid``: number of those without a valid answer; ``invalid_rate``: their
          share. Controls are not included, nor questions that the judge was not asked (column ``asked``).
        - ``ties``: number of answers that neither grid is better (column ``tie``); they are valid, and no vote.
        - ``first_invalid_rate``: share of the first replies that were invalid, ``n_first``: number of first replies
          that came; ``retried_rate``: share of the valid answers that needed a second or third attempt. NaN (and 0)
          without the column attempt.
        - ``swap_consistency``: share of the unit pairs with a valid answer in both orders for which the same method was
          chosen twice: 0.5 for random answers, 0 for a judge that always answers A. ``n_swaps``: number of such pairs.
        - ``position_bias``: ``2 P(A) - 1`` over valid answers: 1 if the judge always answers A, -1 if always B, 0 if
          balanced. Both orders of a pair are shown, so the quality of the methods cancels out.
        - ``control_a``: share of A if both grids are the same, expected near 0.5; ``n_controls``: number of valid
          answers to controls.
        - ``agreement``: share of the other judges' valid votes on the same presentations that equal the judge's.

        Shares are fractions, and NaN if there is nothing to count.

    Raises:
        UserError: as :func:`harness.stats.consensus.checked`.
    """
    frame = checked(judgments)
    judges = sorted(frame["judge"].unique())
    if ASKED in frame.columns:
        frame = frame[frame[ASKED].astype(bool)]
    control = frame["method_a"] == frame["method_b"]
    real, controls = frame[~control], frame[control]
    answers = _table(real)
    rows = []
    for judge in judges:
        rows_of_judge = real[real["judge"] == judge]
        valid = rows_of_judge[rows_of_judge["answer"].notna()]
        n_ties = int(_ties(rows_of_judge).sum())
        n_invalid = len(rows_of_judge) - len(valid) - n_ties
        swaps = _same_in_both_orders(valid)
        same = controls["answer"][(controls["judge"] == judge) & controls["answer"].notna()]
        rows.append(
            {
                "judge": judge,
                "n": len(rows_of_judge),
                "invalid": n_invalid,
                "invalid_rate": _share(n_invalid, len(rows_of_judge)),
                "ties": n_ties,
                **_attempts(rows_of_judge),
                "swap_consistency": _share(int(swaps.sum()), len(swaps)),
                "n_swaps": len(swaps),
                "position_bias": 2 * _share(int((valid["answer"] == "A").sum()), len(valid)) - 1,
                "control_a": _share(int((same == "A").sum()), len(same)),
                "n_controls": len(same),
                "agreement": _agreement(answers, judge),
            }
        )
    return pd.DataFrame(rows)


def krippendorff_alpha(judgments: pd.DataFrame) -> float:
    """Return the agreement of all judges beyond chance: Krippendorff's alpha for nominal data with missing answers.

    It is ``1 - observed / expected disagreement`` over presentations with at least two valid answers: 1 for perfect
    agreement, 0 for chance. It is NaN if there is no such presentation, or if all answers are the same. Controls are
    left out.

    Raises:
        UserError: as :func:`harness.stats.consensus.checked`.
    """
    frame = checked(judgments)
    return alpha_of(_table(frame[frame["method_a"] != frame["method_b"]]))


def n_shared_pairs(judgments: pd.DataFrame) -> int:
    """Return the number of unit pairs of which at least two judges validly answered the same presentation.

    It is the number of independent items from which :func:`krippendorff_alpha` is computed. Controls are left out.

    Raises:
        UserError: as :func:`harness.stats.consensus.checked`.
    """
    frame = checked(judgments)
    valid = frame[(frame["method_a"] != frame["method_b"]) & frame["answer"].notna()]
    shared = valid[valid.groupby("presentation")["judge"].transform("size") >= 2]
    return int(shared["pair_id"].nunique())


def alpha_of(answers: np.ndarray | pd.DataFrame) -> float:
    """Return Krippendorff's alpha of answers (n_items, n_judges), with any labels, and None or NaN for missing ones.

    ``n_ic`` judges give item i the label c, ``m_i`` judges answer it in all (items with ``m_i >= 2``), and n is the sum
    of ``m_i``. The observed disagreement is ``sum_i (m_i^2 - sum_c n_ic^2) / (m_i - 1) / n``, the expected one
    ``(n^2 - sum_c n_c^2) / (n (n - 1))`` (Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011).
    """
    table = pd.DataFrame(answers).to_numpy(dtype=object)
    labels = sorted({label for label in table.ravel() if not pd.isna(label)}, key=str)
    if not labels:
        return math.nan
    per_item = np.stack([(table == label).sum(1) for label in labels], axis=1).astype(np.float64)
    per_item = per_item[per_item.sum(1) >= 2]
    size = per_item.sum(1)
    n = size.sum()
    if n == 0:
        return math.nan
    observed = float((((size**2) - (per_item**2).sum(1)) / (size - 1)).sum() / n)
    expected = float((n**2 - (per_item.sum(0) ** 2).sum()) / (n * (n - 1)))
    return math.nan if expected == 0 else 1 - observed / expected


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the answers as a table, one row per presentation and one column per judge."""
    return frame.pivot(index="presentation", columns="judge", values="answer")


def _attempts(rows: pd.DataFrame) -> dict[str, float | int]:
    """Return how often the first reply was invalid, and how often a valid answer is a later one."""
    if ATTEMPT not in rows.columns:
        return {"first_invalid_rate": math.nan, "n_first": 0, "retried_rate": math.nan}
    came, valid = rows[ATTEMPT].notna(), rows["answer"].notna() | _ties(rows)
    later = came & (rows[ATTEMPT].fillna(1).astype(np.int64) > 1)
    return {
        # A later attempt is made only if the one before was invalid.
        "first_invalid_rate": _share(int((later | (came & ~valid)).sum()), int(came.sum())),
        "n_first": int(came.sum()),
        "retried_rate": _share(int((later & valid).sum()), int((came & valid).sum())),
    }


def _ties(rows: pd.DataFrame) -> pd.Series:
    """Return one bool per row: true if the judge answered that neither grid is better."""
    if TIE not in rows.columns:
        return pd.Series(False, index=rows.index)
    return rows[TIE].astype(bool) & rows["answer"].isna()


def _same_in_both_orders(valid: pd.DataFrame) -> np.ndarray:
    """Return one bool per unit pair with valid answers in both orders: True if both chose the same method."""
    chosen = valid["method_a"].where(valid["answer"] == "A", valid["method_b"])
    groups = chosen.groupby(valid["pair_id"], sort=False)
    twice = groups.size() == 2
    same: np.ndarray = (groups.nunique()[twice] == 1).to_numpy()
    return same


def _agreement(answers: pd.DataFrame, judge: str) -> float:
    """Return the share of the other judges' valid answers that equal the judge's."""
    if judge not in answers.columns:
        return math.nan
    answer = answers[judge]
    others = answers.drop(columns=judge)[answer.notna()]
    answer = answer[answer.notna()]
    same = others.eq(answer, axis=0).to_numpy().sum()
    return _share(int(same), int(others.notna().to_numpy().sum()))


def _share(count: int, total: int) -> float:
    return count / total if total else math.nan
