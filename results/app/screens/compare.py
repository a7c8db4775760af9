"""Compare: is the difference between two methods real, and which units does it come from?"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import chart, data, flags, panels, queries, queries_judging, tables, widgets
from results.app.default_rows import focus_row, rival_row
from results.app.figures.differences import difference_figures, is_drawn, p_text
from results.app.gallery import gallery_of
from results.app.titles import DIRECTIONS, plain, visible
from results.app.unit_pairs import UnitCard, show_cards
from results.app.widgets import Choice
from results.boards.board import BoardKey
from results.boards.columns import COSTS
from results.boards.lead_columns import column_name, metric_name, unit_text
from results.comparison.paired import Comparison, Difference, compare_rows
from results.comparison.row_errors import name_of
from results.comparison.sentence import comparison_sentences
from results.comparison.text import refusals
from results.errors import StoreError
from results.minus_sign import with_minus
from results.store import Store

#: Cards of a row of the page; the reader may ask for more.
_N_FIRST, _N_MORE = 3, 9


def render() -> None:
    """Show the page."""
    st.title("Compare two methods")
    with data.page() as store:
        boards = data.require_boards(store)
        left, right = st.columns(2)
        with left:
            a = widgets.row_of(boards, "a", "A", default=focus_row(boards))
        with right:
            b = widgets.row_of(boards, "b", "B", default=rival_row(*a))
        if a.board is not b.board:
            st.info(
                "These two methods are not comparable: their boards differ in backbone, site, image set or split. "
                "Choose two methods of one board."
            )
            return
        if a.row is b.row:
            st.info("Choose two different methods.")
            return
        _differences(store, a, b)
        _pictures(store, a, b)


def _differences(store: Store, a: Choice, b: Choice) -> None:
    board = BoardKey(*(getattr(a.board, name) or "" for name in BoardKey._fields))
    try:
        with st.spinner("Resampling", show_time=False):
            comparison = _compared(data.stamp(), board, name_of(a.row), name_of(b.row), store, a, b)
    except StoreError as error:
        st.info(plain(str(error)))
        flags.warn(a.row, b.row)
        return
    first, second = map(with_minus, comparison_sentences(comparison))
    st.header(plain(first), anchor=False)
    if second:
        st.markdown(plain(second))
    flags.warn(a.row, b.row)
    for number, figure in enumerate(difference_figures(comparison)):
        chart.show(figure, f"differences {number}", f"Forest plot of the tested differences. {visible(first)}")
    _explain(comparison)
    tested = [entry for entry in comparison.differences if is_drawn(entry)]
    untested = [entry for entry in comparison.differences if not is_drawn(entry)]
    if tested:
        with st.expander(f"{len(tested)} tested quantities in numbers"):
            _table(comparison, tested, "Tested quantities.")
    if untested:
        with st.expander(f"{len(untested)} quantities that are not tested, and why"):
            _table(comparison, untested, "Quantities that are not tested.")
            for note in refusals(comparison):
                st.text(visible(note))
    for note in comparison.notes:
        st.info(plain(note))


# The bootstrap takes a second or more; it is seeded, so the same store gives the same numbers.
@st.cache_resource(max_entries=32, show_spinner=False)
def _compared(
    stamp: tuple[str, int, int], board: BoardKey, name_a: str, name_b: str, _opened: Store, _a: Choice, _b: Choice
) -> Comparison:
    return compare_rows(_opened, _a.board, _a.row, _b.row)


def _explain(comparison: Comparison) -> None:
    n_tested = sum(entry.p is not None for entry in comparison.differences)
    st.caption(
        f"Bars are {100 * comparison.level:g} % intervals from {comparison.n_resamples} resamples, paired by "
        f"{plain(', '.join(comparison.seeds))}. P-values are corrected (Holm) for the {n_tested} quantities tested, "
        "intervals are not: an interval may exclude zero although the difference is not significant. Numbers are A "
        "minus B; at ↓ less is better, and points right of zero are in favour of A there, too. The same as "
        "harness compare."
    )


def _table(comparison: Comparison, entries: Sequence[Difference], alt: str) -> None:
    a, b = (visible(title) for title in (comparison.a.title_with_flags, comparison.b.title_with_flags))
    winners = {"a": a, "b": b, None: ""}
    interval = f"{100 * comparison.level:g} % interval"
    columns = {
        "metric": [column_name(entry.column) for entry in entries],
        "unit": [unit_text(entry.column) for entry in entries],
        f"A: {a}": [with_minus(entry.column.text(entry.a)) for entry in entries],
        f"B: {b}": [with_minus(entry.column.text(entry.b)) for entry in entries],
        "A minus B": [_signed(entry, entry.difference) for entry in entries],
        interval: [_interval(entry) for entry in entries],
    }
    if any(entry.p is not None for entry in entries):
        columns["p (Holm)"] = [p_text(entry.p_holm).removeprefix("p ").removeprefix("= ") for entry in entries]
        columns["better"] = [winners[entry.better] for entry in entries]
    else:
        columns["why not tested"] = [_why_not(entry) for entry in entries]
    columns["direction"] = [DIRECTIONS[entry.column.direction] for entry in entries]
    columns["paired"] = [entry.paired for entry in entries]
    widths = {"metric": 220, interval: 160, "why not tested": 260}
    tables.show(
        columns,
        alt,
        height="content",
        column_config={title: st.column_config.TextColumn(width=width) for title, width in widths.items()},
    )


def _why_not(entry: Difference) -> str:
    if entry.tested_as is not None:
        return f"another form of {metric_name(entry.tested_as)}"
    if entry.column.direction == "none":
        return "neither direction is better"
    if entry.column.metric in COSTS:
        return "a cost, measured once per run"
    if "equal up to rounding" in entry.paired:
        return "equal up to rounding"
    return "one pair of seeds" if entry.n_seeds == 1 else "no error is known"


def _signed(entry: Difference, value: float) -> str:
    displayed = entry.column.display_value(value)
    return with_minus(f"{displayed:{'+' if displayed else ''}.{entry.column.digits}f}")


def _interval(entry: Difference) -> str:
    if entry.low is None or entry.high is None:
        return "unknown"
    return f"{_signed(entry, entry.low)} to {_signed(entry, entry.high)}"


def _pictures(store: Store, a: Choice, b: Choice) -> None:
    sides = [queries.finished_cells(store, choice.row.cell_ids) for choice in (a, b)]
    if not all(sides):
        return
    seeds = {(cell["token_seed"], cell["init_seed"]): cell for cell in sides[1]}
    first = next((cell for cell in sides[0] if (cell["token_seed"], cell["init_seed"]) in seeds), sides[0][0])
    second = seeds.get((first["token_seed"], first["init_seed"]), sides[1][0])
    cells = (first["cell_id"], second["cell_id"])
    limit = _N_MORE if st.session_state.get("more pairs") else _N_FIRST
    name_a, name_b = (choice.row.title for choice in (a, b))
    wins, losses = (_by_parent(store, cells, limit, worst=worst) for worst in (False, True))
    how, panel = (
        "The gain is that of the mean MS score of all units made of one neuron; the best of them is shown.",
        None,
    )
    if not wins and not losses:
        wins, losses = (_by_judges(store, a, b, limit, worst=worst) for worst in (False, True))
        how = (
            "The units of these methods have no common neurons, so these are the clearest votes of the judges, "
            "over both orders of the two grids."
        )
        panel = _panel(store, [*wins, *losses])
    if not wins and not losses:
        st.info(
            "No pairs of units: these methods have no common neurons, and no panel has judged them. `harness judge` "
            "compares their units."
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"A: {plain(name_a)}. B: {plain(name_b)}. {how}", width="stretch")
        if panel is not None:
            panels.badge(panel)
        st.toggle("More pairs", key="more pairs", help=f"Up to {_N_MORE} of each instead of {_N_FIRST}.")
    gallery = gallery_of(store, first)
    for title, cards in ((f"Gained: units where {name_a} is ahead", wins), (f"Lost: {name_b} is ahead", losses)):
        st.header(plain(title), anchor=False)
        if cards:
            show_cards(store, gallery, cards, (name_a, name_b))
        else:
            st.text("None.")
    gallery.explain()


def _panel(store: Store, cards: Sequence[UnitCard]) -> str | None:
    judged = {(card.address or {}).get("tournament") for card in cards}
    tournaments = queries_judging.tournaments(store)
    return next((str(row["panel"]) for row in tournaments if row["tournament"] in judged), None)


def _by_parent(store: Store, cells: tuple[str, str], limit: int, *, worst: bool) -> list[UnitCard]:
    rows = queries.parents_compared(store, *cells, worst=worst, limit=limit)
    return [
        UnitCard(
            with_minus(f"Neuron {row['parent']}: {row['difference']:+.2f}"),
            (f"mean MS score {row['mean_a']:.2f} {_of(row['n_a'])} against {row['mean_b']:.2f} {_of(row['n_b'])}",),
            ((cells[0], row["best_a"]), (cells[1], row["best_b"])),
        )
        for row in rows
        if (row["difference"] < 0 if worst else row["difference"] > 0)
    ]


def _of(count: int) -> str:
    return "(1 unit)" if count == 1 else f"({count} units)"


def _by_judges(store: Store, a: Choice, b: Choice, limit: int, *, worst: bool) -> list[UnitCard]:
    sides = (list(choice.row.cell_ids) for choice in (a, b))
    return [
        UnitCard(
            f"Votes {row['votes_a']} : {row['votes_b']}",
            (),
            ((row["cell_a"], row["unit_a"]), (row["cell_b"], row["unit_b"])),
            {"tournament": row["tournament"], "pair": row["pair_id"], "order": 0},
        )
        for row in queries_judging.judged_pairs(store, *sides, worst=worst, limit=limit)
    ]


if __name__ == "__main__":
    render()
