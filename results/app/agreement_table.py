"""Agreement of each two judges of a store on the questions of a tournament, whatever their panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from results.app import data, panels, tables
from results.comparison.judge_agreement import Agreement, judge_agreements
from results.minus_sign import with_minus
from results.store import Store

#: Rows of the table that are shown without a scroll bar.
_MOST_ROWS = 15
_KINDS = {"people": "person", "proxy": "proxy"}


def show_agreement(store: Store, tournament: str, titles: Mapping[str, str]) -> None:
    """Show the table, folded; nothing if no two judges have answered a common question.

    Raises:
        StoreError: the store cannot be read.
    """
    rows = _agreements(data.stamp(), tournament, store)
    if not rows:
        return
    with st.expander("Agreement of judges, people and all panels included"):
        # Named together: a name that two judges share keeps its hash.
        judges = sorted({judge for row in rows for judge in (row.judge, row.other)})
        names = dict(zip(judges, panels.judge_names(judges, titles), strict=True))
        tables.show(
            {
                "judge": [_named(row.judge, names) for row in rows],
                "other": [_named(row.other, names) for row in rows],
                "questions": [row.n_questions for row in rows],
                "unit pairs": [row.n_pairs for row in rows],
                "same answer (%)": [with_minus(f"{100 * row.same:.1f}") for row in rows],
                "kappa": [_number(row.kappa) for row in rows],
                "95 % interval of kappa": [
                    "–" if row.low is None else f"{_number(row.low)} to {_number(row.high)}" for row in rows
                ],
            },
            "Agreement of each two judges.",
            placeholder="–",
            height="content" if len(rows) <= _MOST_ROWS else "auto",
        )
        st.caption(
            "Each line is about the questions that both judges have answered with A or B: the same two grids in the "
            "same order, in any tournament. Kappa is Cohen's: 0 is the agreement of chance, 1 is perfect agreement. "
            "Its interval is for other pairs of the same units."
        )


# Replies of 40 judges are hundreds of thousands of rows.
@st.cache_data(max_entries=16, show_spinner=False)
def _agreements(stamp: tuple[str, int, int], tournament: str, _opened: Store) -> Sequence[Agreement]:
    return judge_agreements(_opened, tournament)


def _named(judge: str, names: Mapping[str, str]) -> str:
    kind = judge.partition("/")[0]
    return f"{names[judge]} ({_KINDS.get(kind, kind)})"


def _number(value: float | None) -> str:
    return "–" if value is None else with_minus(f"{value:.2f}")
