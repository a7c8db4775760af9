"""Compare: is the difference between two methods real, and which units does it come from?"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import chart, data, flags, navigation, tables, widgets
from results.app.compared_units import show_units
from results.app.default_rows import focus_row, rival_row
from results.app.figures.differences import difference_figures, is_drawn, p_text
from results.app.titles import DIRECTIONS, plain, visible
from results.app.widgets import Choice
from results.boards.board import BoardKey
from results.boards.columns import COSTS
from results.boards.lead_columns import column_name, lead_of, metric_name, unit_text
from results.boards.ranking import HEADLINE
from results.comparison.paired import Comparison, Difference, compare_rows
from results.comparison.row_errors import name_of
from results.comparison.sentence import comparison_sentences
from results.comparison.text import refusals
from results.errors import StoreError
from results.minus_sign import with_minus
from results.store import Store


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
        if sentence := _not_two_rows(a, b):
            st.info(plain(sentence))
            if rival := rival_row(*a):
                name = plain(f"Compare {a.row.title} with {rival.row.title}")
                navigation.link("compare", name, a=a.row.cell_ids[0], b=rival.row.cell_ids[0])
            return
        _differences(store, a, b)
        show_units(store, a, b)


def _not_two_rows(a: Choice, b: Choice) -> str | None:
    """Return why A and B are not two rows of one board; None if they are."""
    if a.row is b.row:
        return "A and B are the same row: choose another B."
    if a.board is b.board:
        return None
    layers = [f"{choice.board.backbone_title}, {choice.board.site}" for choice in (a, b)]
    if layers[0] != layers[1]:
        return (
            f"A and B are not comparable: A is on the layer {layers[0]}, B on {layers[1]}. Differences are measured on "
            "the same images and the same layer: choose a B of A's layer."
        )
    return (
        f"A and B are not comparable: both are on {layers[0]}, but with other image sets or splits. Differences are "
        "measured on the same images: choose a B of A's image set."
    )


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
    tested = [entry for entry in comparison.differences if is_drawn(entry)]
    untested = [entry for entry in comparison.differences if not is_drawn(entry)]
    for number, figure in enumerate(difference_figures(comparison)):
        chart.show(figure, f"differences {number}", f"Forest plot of the tested differences. {visible(first)}")
    if tested:
        _explain(comparison)
    elif not any(entry.p is not None for entry in comparison.differences):
        st.markdown(plain(_observed(untested)))
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
    lines = ["Right of zero: A is better. Numbers are A minus B; ↓ marks quantities of which less is better."]
    lines += [
        f"{column_name(entry.column)}: {lead.explanation}."
        for entry in comparison.differences
        if entry.column.metric in HEADLINE and (lead := lead_of(entry.column))
    ]
    st.caption("  \n".join(map(plain, lines)))
    with st.expander("How to read the plot"):
        seeds = plain(", ".join(comparison.seeds))
        st.markdown(
            f"- Bars are {100 * comparison.level:g} % intervals from {comparison.n_resamples} resamples, paired by "
            f"{seeds}.\n"
            f"- P-values are corrected for the {n_tested} quantities tested (Holm). A difference counts if p is below "
            f"{1 - comparison.level:.2g}.\n"
            "- Intervals are not corrected, so one may exclude zero although the difference is not significant.\n"
            f"{_definitions(comparison)}"
            "- The numbers are those of `harness compare`."
        )


def _definitions(comparison: Comparison) -> str:
    leads = [(column_name(entry.column), lead_of(entry.column)) for entry in comparison.differences if is_drawn(entry)]
    return "".join(f"- **{plain(name)}**: {plain(lead.explanation)}.\n" for name, lead in leads if lead)


def _observed(untested: Sequence[Difference]) -> str:
    """Return the difference that the reader asks for first, which is not tested."""
    by_metric = {entry.column.metric: entry for entry in reversed(untested)}
    entry = next((by_metric[metric] for metric in HEADLINE if metric in by_metric), untested[0])
    unit = f" {unit_text(entry.column)}" if unit_text(entry.column) else ""
    return (
        f"Observed, not tested: {column_name(entry.column)} {entry.column.text(entry.a)}{unit} of A against "
        f"{entry.column.text(entry.b)}{unit} of B."
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


if __name__ == "__main__":
    render()
