"""Compare: two methods, the paired difference of every metric, and the units where one wins and loses most."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import chart, data, flags, navigation, queries, queries_judging, tables, widgets
from results.app.default_rows import focus_row, rival_row
from results.app.figures.differences import difference_figure
from results.app.gallery import Gallery, gallery_of
from results.app.titles import DIRECTIONS, plain, visible
from results.app.widgets import Choice
from results.boards.board import BoardKey
from results.boards.lead_columns import column_name, metric_name, unit_text
from results.comparison.paired import Comparison, Difference, compare_rows
from results.comparison.row_errors import name_of
from results.comparison.text import refusals
from results.errors import StoreError
from results.store import Store

_N_EXAMPLES = 3


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
        flags.warn(a.row, b.row)
        _differences(store, a, b)
        _pictures(store, a, b)


def _differences(store: Store, a: Choice, b: Choice) -> None:
    board = BoardKey(*(getattr(a.board, name) or "" for name in BoardKey._fields))
    try:
        with st.spinner("Resampling", show_time=False):
            comparison = _compared(data.stamp(), board, name_of(a.row), name_of(b.row), store, a, b)
    except StoreError as error:
        st.info(plain(str(error)))
        return
    _table(comparison)


# The bootstrap takes a second or more; it is seeded, so the same store gives the same numbers.
@st.cache_resource(max_entries=32, show_spinner=False)
def _compared(
    stamp: tuple[str, int, int], board: BoardKey, name_a: str, name_b: str, _opened: Store, _a: Choice, _b: Choice
) -> Comparison:
    return compare_rows(_opened, _a.board, _a.row, _b.row)


def _table(comparison: Comparison) -> None:
    a, b = visible(comparison.a.title_with_flags), visible(comparison.b.title_with_flags)
    st.subheader("Paired differences, A minus B")
    figure = difference_figure(comparison)
    if figure is not None:
        chart.show(figure, "differences", f"Paired differences of {a} and {b}.")
    entries, interval = comparison.differences, f"{100 * comparison.level:g} % interval"
    widths = {"metric": 250, interval: 160, "tested as": 130, "better": 120}
    tables.show(
        {
            "metric": [column_name(entry.column) for entry in entries],
            "unit": [unit_text(entry.column) for entry in entries],
            "direction": [DIRECTIONS[entry.column.direction] for entry in entries],
            f"A: {a}": [entry.column.text(entry.a) for entry in entries],
            f"B: {b}": [entry.column.text(entry.b) for entry in entries],
            "A minus B": [_signed(entry, entry.difference) for entry in entries],
            interval: [_interval(entry) for entry in entries],
            "p (Holm)": [_p(entry.p_holm) for entry in entries],
            "tested as": ["" if entry.tested_as is None else metric_name(entry.tested_as) for entry in entries],
            "better": [{"a": a, "b": b, None: ""}[entry.better] for entry in entries],
            "paired": [entry.paired for entry in entries],
        },
        "Paired differences.",
        height="content",
        column_config={title: st.column_config.TextColumn(width=width) for title, width in widths.items()},
    )
    n_tested = sum(entry.p is not None for entry in entries)
    st.caption(
        f"Paired by {plain(', '.join(comparison.seeds))}; {comparison.n_resamples} bootstrap resamples of the images, "
        "neurons or units named in the last column. Tested as: another form of the metric, which is not "
        f"tested again and not drawn. P-values are corrected (Holm) for the {n_tested} metrics tested, intervals are "
        "not. So an interval may exclude zero although the difference is not significant. The same as "
        "`harness compare`."
    )
    for note in (*refusals(comparison), *comparison.notes):
        st.info(plain(note))


def _signed(entry: Difference, value: float) -> str:
    displayed = entry.column.display_value(value)
    return f"{displayed:+.{entry.column.digits}f}" if displayed else f"{displayed:.{entry.column.digits}f}"


def _interval(entry: Difference) -> str:
    if entry.low is None or entry.high is None:
        return "unknown"
    return f"{_signed(entry, entry.low)} to {_signed(entry, entry.high)}"


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _pictures(store: Store, a: Choice, b: Choice) -> None:
    sides = [queries.finished_cells(store, choice.row.cell_ids) for choice in (a, b)]
    if not all(sides):
        return
    seeds = {(cell["token_seed"], cell["init_seed"]): cell for cell in sides[1]}
    first = next((cell for cell in sides[0] if (cell["token_seed"], cell["init_seed"]) in seeds), sides[0][0])
    second = seeds.get((first["token_seed"], first["init_seed"]), sides[1][0])
    gallery = gallery_of(store, first)
    cells = (first["cell_id"], second["cell_id"])
    if queries.parents_compared(store, *cells, limit=1):
        _by_parent(store, (a, b), cells, gallery)
    elif not _by_judges(store, (a, b), gallery):
        st.caption(
            "No images to compare: the units of these methods have no common parents, and no panel has judged them."
        )
        return
    gallery.explain()


def _by_parent(store: Store, pair: Sequence[Choice], cells: tuple[str, str], gallery: Gallery) -> None:
    for worst, title in ((False, "Best wins of A"), (True, "Worst losses of A")):
        rows = queries.parents_compared(store, *cells, worst=worst, limit=_N_EXAMPLES)
        rows = [row for row in rows if (row["difference"] < 0 if worst else row["difference"] > 0)]
        st.subheader(title)
        if not rows:
            st.text("None.")
        for row in rows:
            st.text(
                f"Original unit {row['parent']}: mean MS score of its units {row['mean_a']:.4f} ({row['n_a']}) "
                f"against {row['mean_b']:.4f} ({row['n_b']}), difference {row['difference']:+.4f}"
            )
            units = list(zip(cells, (row["best_a"], row["best_b"]), strict=True))
            _side_by_side(store, gallery, pair, units, "best of them, ")
    st.caption("Compared per parent, on the first pair of cells with the same seeds.")


def _by_judges(store: Store, pair: Sequence[Choice], gallery: Gallery) -> bool:
    cells_a, cells_b = (list(choice.row.cell_ids) for choice in pair)
    any_judged = False
    for worst, title in ((False, "Clearest wins of A according to the judges"), (True, "Clearest losses of A")):
        rows = queries_judging.judged_pairs(store, cells_a, cells_b, worst=worst, limit=_N_EXAMPLES)
        if rows:
            any_judged = True
            st.subheader(title)
        for row in rows:
            st.text(f"Votes over both orders {row['votes_a']} : {row['votes_b']}")
            units = [(row[f"cell_{side}"], row[f"unit_{side}"]) for side in "ab"]
            _side_by_side(store, gallery, pair, units, "")
            address = {"tournament": row["tournament"], "pair": row["pair_id"], "order": 0}
            navigation.link("judges", "Replies of the judges", **address)
    return any_judged


def _side_by_side(
    store: Store, gallery: Gallery, pair: Sequence[Choice], units: Sequence[tuple[str, int]], prefix: str
) -> None:
    """Show a unit, given as (cell id, number), of each method of a pair."""
    rows = [queries.unit_by_number(store, *unit) for unit in units]
    gallery.prepare(store, rows)
    for column, choice, (cell_id, number), row in zip(st.columns(2), pair, units, rows, strict=True):
        with column:
            navigation.link(
                "units", f"{plain(choice.row.title_with_flags)}, {prefix}unit {number}", cell=cell_id, unit=number
            )
            if row is not None:
                gallery.show(row, f"unit {number}", tile_px=110, columns=5)


if __name__ == "__main__":
    render()
