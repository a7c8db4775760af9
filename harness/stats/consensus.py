"""Consensus of several judges: one winner per presentation.

A frame of judgments has one row per judge and presentation:

========== ====================================================================================
pair_id    unit pair: two units of two methods; the cluster of the bootstrap
method_a   method whose grid was shown as A
method_b   method whose grid was shown as B
order      0 or 1; distinguishes the two presentations of a pair
judge      judge that answered
answer     "A", "B", or null if the reply was invalid or missing
========== ====================================================================================

Rows with ``method_a == method_b`` are controls (a grid shown against itself). They measure a judge, not a method.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from methods.errors import ArgumentError

COLUMNS = ("pair_id", "method_a", "method_b", "order", "judge", "answer")


def checked(judgments: pd.DataFrame) -> pd.DataFrame:
    """Validate judgments and number their presentations.

    Returns:
        The six columns, with answers as "A", "B" or None, and a column ``presentation`` (0, 1, ...).

    Raises:
        ArgumentError: if a column or a value in it is missing, an answer is invalid, a judge answered a
            presentation twice, or the rows of one presentation name different methods.
    """
    if not isinstance(judgments, pd.DataFrame) or judgments.columns.duplicated().any():
        kind = "has a column twice" if isinstance(judgments, pd.DataFrame) else f"is a {type(judgments).__name__}"
        raise ArgumentError(f"The table of judgments {kind}; give a DataFrame with the columns {', '.join(COLUMNS)}.")
    missing = [name for name in COLUMNS if name not in judgments.columns]
    if missing:
        raise ArgumentError(
            f"The judgments lack the columns {', '.join(missing)}; the required columns are {', '.join(COLUMNS)}."
        )
    frame = judgments.loc[:, list(COLUMNS)].reset_index(drop=True)
    for name in ("pair_id", "method_a", "method_b", "order", "judge"):
        if frame[name].isna().any():
            raise ArgumentError(f"The judgments lack a value of {name} in row {int(frame[name].isna().argmax())}.")
    valid = frame["answer"].isin(["A", "B"])
    wrong = frame["answer"][~valid & frame["answer"].notna()]
    if len(wrong):
        raise ArgumentError(f'The judgments contain the answer {wrong.iloc[0]!r}; an answer must be "A", "B" or null.')
    frame["answer"] = frame["answer"].astype(object).where(valid, None)
    frame["presentation"] = frame.groupby(["pair_id", "order"], sort=False).ngroup()
    repeated = frame[frame.duplicated(["presentation", "judge"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise ArgumentError(
            f"The judge {row['judge']!r} answered the pair {row['pair_id']!r} in order {row['order']} more than once. "
            "Keep one answer per judge and presentation."
        )
    presented = frame.drop_duplicates(["presentation", "method_a", "method_b"])
    inconsistent = presented["pair_id"][presented["presentation"].duplicated()]
    if len(inconsistent):
        raise ArgumentError(
            f"The rows of the pair {inconsistent.iloc[0]!r} name different methods in one order. Give each pair of "
            "units its own pair_id."
        )
    return frame


def consensus(judgments: pd.DataFrame) -> pd.DataFrame:
    """Return the majority's choice for each presentation, i.e. for each (pair_id, order).

    The winner is the method whose grid got more valid answers. Equal votes are a tie, including 0 : 0 if there is no
    valid answer. Controls are left out.

    Returns:
        One row per presentation: pair_id, order, method_a, method_b, votes_a, votes_b, winner (method, None for a tie).

    Raises:
        ArgumentError: as :func:`checked`.
    """
    return tallied(checked(judgments))


def tallied(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the :func:`consensus` of a frame returned by :func:`checked`."""
    frame = frame[frame["method_a"] != frame["method_b"]]
    presented = frame.drop_duplicates("presentation")
    votes = frame.pivot_table("judge", "presentation", "answer", "count", fill_value=0)
    votes = votes.reindex(index=presented["presentation"], columns=["A", "B"], fill_value=0)
    a, b = votes.to_numpy(dtype=np.int64).T
    table = presented[["pair_id", "order", "method_a", "method_b"]].reset_index(drop=True)
    first, second = (table[name].to_numpy(dtype=object) for name in ("method_a", "method_b"))
    winner = np.where(a > b, first, np.where(b > a, second, None))
    return table.assign(votes_a=a, votes_b=b, winner=pd.Series(winner, dtype=object))
