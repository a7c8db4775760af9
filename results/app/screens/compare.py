"""Compare: two methods, the paired difference of every metric, and the units where one wins and loses most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from results.app import chart, data, navigation, queries, queries_judging, widgets
from results.app.figures.differences import difference_figure
from results.app.gallery import Gallery, gallery_of
from results.app.titles import DIRECTIONS, column_title, plain, unit_of, visible
from results.app.widgets import Choice
from results.comparison.paired import Comparison, Difference, compare
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
            a = widgets.row_of(boards, "a", "A")
        with right:
            b = widgets.row_of(boards, "b", "B", default=1)
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
    try:
        with st.spinner("Resampling", show_time=False):
            comparisons = _compared(data.stamp(), a.row.title, b.row.title, a.board.backbone, a.board.site, store)
    except StoreError as error:
        st.info(plain(str(error)))
        return
    comparison = next(
        (
            candidate
            for candidate in comparisons
            if set(candidate.a.cell_ids) == set(a.row.cell_ids) and set(candidate.b.cell_ids) == set(b.row.cell_ids)
        ),
        None,
    )
    if comparison is None:
        st.info("These two methods have no seeds in common, or no comparable metric.")
        return
    _table(comparison)


# The bootstrap takes a second or more; it is seeded, so the same store gives the same numbers.
@st.cache_resource(max_entries=32, show_spinner=False)
def _compared(
    stamp: tuple[str, int, int], a: str, b: str, backbone: str, site: str, _opened: Store
) -> list[Comparison]:
    return compare(_opened, a, b, backbone=backbone, site=site)


def _table(comparison: Comparison) -> None:
    a, b = visible(comparison.a.title), visible(comparison.b.title)
    st.subheader("Paired differences, A minus B")
    figure = difference_figure(comparison)
    if figure is not None:
        chart.show(figure, "differences", f"Paired differences of {a} and {b}.")
    frame = pd.DataFrame(
        {
            "metric": [visible(column_title(entry.column)) for entry in comparison.differences],
            "unit": [unit_of(entry.column) for entry in comparison.differences],
            "direction": [DIRECTIONS[entry.column.direction] for entry in comparison.differences],
            f"A: {a}": [entry.column.text(entry.a) for entry in comparison.differences],
            f"B: {b}": [entry.column.text(entry.b) for entry in comparison.differences],
            "A minus B": [_signed(entry, entry.difference) for entry in comparison.differences],
            f"{100 * comparison.level:g} % interval": [_interval(entry) for entry in comparison.differences],
            "p (Holm)": [_p(entry.p_holm) for entry in comparison.differences],
            "better": [{"a": a, "b": b, None: ""}[entry.better] for entry in comparison.differences],
            "paired": [entry.paired for entry in comparison.differences],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        height="content",
        column_config={
            "metric": st.column_config.TextColumn(width=275),
            f"{100 * comparison.level:g} % interval": st.column_config.TextColumn(width=160),
            "better": st.column_config.TextColumn(width=120),
        },
        alt="Paired differences.",
    )
    st.caption(
        f"Paired by {plain(', '.join(comparison.seeds))}; {comparison.n_resamples} bootstrap resamples, clustered by "
        "neuron if units belong to neurons. P-values are corrected over the metrics (Holm), intervals are not. So an "
        "interval may exclude zero although the difference is not significant. The same as `harness compare`."
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
    sides = [_finished(store, choice) for choice in (a, b)]
    if not all(sides):
        return
    seeds = {(cell["token_seed"], cell["init_seed"]): cell for cell in sides[1]}
    first = next((cell for cell in sides[0] if (cell["token_seed"], cell["init_seed"]) in seeds), sides[0][0])
    second = seeds.get((first["token_seed"], first["init_seed"]), sides[1][0])
    gallery = gallery_of(store, first)
    parents = queries.parents_compared(store, first["cell_id"], second["cell_id"], limit=1)
    if not parents.empty:
        _by_parent(store, (a, b), (first, second), gallery)
    elif not _by_judges(store, (a, b), sides, gallery):
        st.caption(
            "No images to compare: the units of these methods have no common parents, and no panel has judged them."
        )
        return
    gallery.explain()


def _finished(store: Store, choice: Choice) -> list[dict[Any, Any]]:
    records = queries.cells(store, choice.row.cell_ids).astype(object).to_dict("records")
    return [cell for cell in records if cell["status"] == "finished"]


def _by_parent(store: Store, pair: Sequence[Choice], cells: Sequence[Mapping[Any, Any]], gallery: Gallery) -> None:
    for worst, title in ((False, "Best wins of A"), (True, "Worst losses of A")):
        frame = queries.parents_compared(
            store, cells[0]["cell_id"], cells[1]["cell_id"], worst=worst, limit=_N_EXAMPLES
        )
        frame = frame[frame["difference"] < 0] if worst else frame[frame["difference"] > 0]
        st.subheader(title)
        if frame.empty:
            st.text("None.")
            continue
        units = [
            queries.units_by_number(store, cell["cell_id"], [int(unit) for unit in frame[f"best_{side}"]])
            for cell, side in zip(cells, "ab", strict=True)
        ]
        gallery.prepare(store, *units)
        for row in frame.to_dict("records"):
            st.text(
                f"Original unit {row['parent']}: mean MS score of its units {row['mean_a']:.4f} ({row['n_a']}) "
                f"against {row['mean_b']:.4f} ({row['n_b']}), difference {row['difference']:+.4f}"
            )
            _side_by_side(
                gallery,
                pair,
                [(cell["cell_id"], row[f"best_{side}"]) for cell, side in zip(cells, "ab", strict=True)],
                units,
                "best of them, ",
            )
    st.caption("Compared per parent, on the first pair of cells with the same seeds.")


def _by_judges(
    store: Store, pair: Sequence[Choice], sides: Sequence[Sequence[Mapping[Any, Any]]], gallery: Gallery
) -> bool:
    ids = [[str(cell["cell_id"]) for cell in side] for side in sides]
    any_found = False
    for worst, title in ((False, "Clearest wins of A according to the judges"), (True, "Clearest losses of A")):
        frame = queries_judging.judged_pairs(store, ids[0], ids[1], worst=worst, limit=_N_EXAMPLES)
        if frame.empty:
            continue
        any_found = True
        st.subheader(title)
        for row in frame.to_dict("records"):
            units = [queries.units_by_number(store, row[f"cell_{side}"], [int(row[f"unit_{side}"])]) for side in "ab"]
            gallery.prepare(store, *units)
            st.text(f"Votes over both orders {row['votes_a']} : {row['votes_b']}")
            _side_by_side(gallery, pair, [(row[f"cell_{side}"], row[f"unit_{side}"]) for side in "ab"], units, "")
            navigation.link(
                "judges", "Replies of the judges", tournament=row["tournament"], pair=row["pair_id"], order=0
            )
    return any_found


def _side_by_side(
    gallery: Gallery,
    pair: Sequence[Choice],
    chosen: Sequence[tuple[str, int]],
    units: Sequence[pd.DataFrame],
    prefix: str,
) -> None:
    for column, choice, (cell_id, number), frame in zip(st.columns(2), pair, chosen, units, strict=True):
        with column:
            navigation.link("units", f"{plain(choice.row.title)}, {prefix}unit {number}", cell=cell_id, unit=number)
            unit_rows = frame[frame["unit"] == number]
            if not unit_rows.empty:
                gallery.show(
                    unit_rows.astype(object).to_dict("records")[0],
                    count=9,
                    tile_px=110,
                    columns=5,
                    what=f"unit {number}",
                )


if __name__ == "__main__":
    render()
