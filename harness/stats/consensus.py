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

It may have more columns, which are used if they are present:

========== ====================================================================================
unit_a     sampling unit shown as A: a unit, or the neuron of which the unit is a part. Equal names
           are one unit, also across token seeds and methods: two methods that split the same neuron
           name it alike, and unrelated units need names of their own.
unit_b     sampling unit shown as B
attempt    number of the attempt that gave the answer, 1 to 3; null if no reply came to the first
asked      false if the judge is not a member of the panel on this presentation, so that the majority is
           that of the others. For panels that judges join freely: each answers some of the questions.
tie        true if the judge answered that neither grid is better: a reply without a vote, which is valid
========== ====================================================================================

Rows with ``method_a == method_b`` are controls (a grid shown against itself). They measure a judge, not a method.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from methods.errors import ArgumentError

COLUMNS = ("pair_id", "method_a", "method_b", "order", "judge", "answer")
UNIT_COLUMNS = ("unit_a", "unit_b")
ATTEMPT = "attempt"
ASKED, TIE = "asked", "tie"


def checked(judgments: pd.DataFrame) -> pd.DataFrame:
    """Validate judgments and number their presentations.

    Returns:
        The six columns and those of the optional ones that are present, with answers as "A", "B" or None, and a column
        ``presentation`` (0, 1, ...).

    Raises:
        ArgumentError: if a column or a value in it is missing, an answer is invalid, a judge answered a
            presentation twice, or the rows of one presentation name different methods or units.
    """
    if not isinstance(judgments, pd.DataFrame) or judgments.columns.duplicated().any():
        kind = "has a column twice" if isinstance(judgments, pd.DataFrame) else f"is a {type(judgments).__name__}"
        raise ArgumentError(f"The table of judgments {kind}; give a DataFrame with the columns {', '.join(COLUMNS)}.")
    missing = [name for name in COLUMNS if name not in judgments.columns]
    if missing:
        raise ArgumentError(
            f"The judgments lack the columns {', '.join(missing)}; the required columns are {', '.join(COLUMNS)}."
        )
    units = [name for name in UNIT_COLUMNS if name in judgments.columns]
    if len(units) == 1:
        raise ArgumentError(f"The judgments have the column {units[0]} alone; give both of {', '.join(UNIT_COLUMNS)}.")
    optional = [*units, *(name for name in (ATTEMPT, ASKED, TIE) if name in judgments.columns)]
    frame = judgments.loc[:, [*COLUMNS, *optional]].reset_index(drop=True)
    for name in ("pair_id", "method_a", "method_b", "order", "judge", *units):
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
    presented = frame.drop_duplicates(["presentation", "method_a", "method_b", *units])
    inconsistent = presented["pair_id"][presented["presentation"].duplicated()]
    if len(inconsistent):
        raise ArgumentError(
            f"The rows of the pair {inconsistent.iloc[0]!r} name different methods or units in one order. Give each "
            "pair of units its own pair_id."
        )
    return frame


def consensus(judgments: pd.DataFrame) -> pd.DataFrame:
    """Return the panel's choice for each presentation, i.e. for each (pair_id, order).

    The panel are all judges of the frame, or, with the column ``asked``, those who were asked. The winner is the method
    whose grid got the valid votes of a strict majority of the panel: of one judge, its vote; of two, both; of three,
    two; of five, three. An invalid or missing reply is no vote, so one valid vote of three decides nothing.
    Without a majority, the comparison is a tie if both grids got as many valid votes (at least one), else undecided.
    Controls are left out.

    Returns:
        One row per presentation: pair_id, order, method_a, method_b (and unit_a, unit_b if given), votes_a, votes_b,
        winner (method, None without a majority), outcome ("decided", "tie", "undecided").

    Raises:
        ArgumentError: as :func:`checked`.
    """
    return tallied(checked(judgments))


def majority(n_judges: int | np.ndarray) -> int | np.ndarray:
    """Return the number of agreeing valid votes that decide a comparison: more than half of the panel."""
    return n_judges // 2 + 1


def tallied(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the :func:`consensus` of a frame returned by :func:`checked`."""
    n_judges: int | np.ndarray = frame["judge"].nunique()
    frame = frame[frame["method_a"] != frame["method_b"]]
    presented = frame.drop_duplicates("presentation")
    if ASKED in frame.columns:
        asked = frame["presentation"][frame[ASKED].astype(bool)].value_counts()
        n_judges = asked.reindex(presented["presentation"], fill_value=0).to_numpy()
    needed = majority(n_judges)
    votes = frame.pivot_table("judge", "presentation", "answer", "count", fill_value=0)
    votes = votes.reindex(index=presented["presentation"], columns=["A", "B"], fill_value=0)
    a, b = votes.to_numpy(dtype=np.int64).T
    units = [name for name in UNIT_COLUMNS if name in frame.columns]
    table = presented[["pair_id", "order", "method_a", "method_b", *units]].reset_index(drop=True)
    first, second = (table[name].to_numpy(dtype=object) for name in ("method_a", "method_b"))
    winner = np.where(a >= needed, first, np.where(b >= needed, second, None))
    outcome = np.where(np.maximum(a, b) >= needed, "decided", np.where((a == b) & (a > 0), "tie", "undecided"))
    return table.assign(
        votes_a=a, votes_b=b, winner=pd.Series(winner, dtype=object), outcome=pd.Series(outcome, dtype=object)
    )
