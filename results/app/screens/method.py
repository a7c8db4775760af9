"""Method: all data of one row of the leaderboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from results.app import chart, data, navigation, queries, widgets
from results.app.figures.curves import curve_figures
from results.app.figures.histogram import histogram_figure
from results.app.theme import LINE, Mark, marks
from results.app.titles import (
    AXES,
    DIRECTIONS,
    absent,
    axis_of,
    column_title,
    compact,
    duration,
    mean_and_spread,
    metric_title,
    number,
    plain,
    unit_of,
    visible,
)
from results.app.widgets import Choice
from results.boards.board import Aggregate, Board
from results.reports.properties import PROPERTIES, MethodProperties, properties
from results.store import Store

_BINS = 100


def render() -> None:
    """Show the page."""
    with data.page() as store:
        heading = st.container()
        choice = widgets.row_of(data.require_boards(store))
        heading.title(plain(choice.row.title))
        cells = queries.cells(store, choice.row.cell_ids)
        records = cells.astype(object).to_dict("records")
        _links(choice, records)
        _failures(records)
        _measurements(choice)
        _properties(store, choice)
        _units(store, choice, records)
        _stability(store, choice)
        _curves(store, records)
        _configuration(records)
        _provenance(records)


def _links(choice: Choice, cells: Sequence[Mapping[str, Any]]) -> None:
    finished = [cell for cell in cells if cell["status"] == "finished"]
    others = [row for row in choice.board.rows if row is not choice.row]
    with st.container(horizontal=True):
        if finished:
            navigation.link("units", "Its units", cell=finished[0]["cell_id"])
        for other in others[:8]:
            navigation.link(
                "compare", f"Compare with {plain(other.title)}", a=choice.row.cell_ids[0], b=other.cell_ids[0]
            )


def _failures(cells: Sequence[Mapping[str, Any]]) -> None:
    for cell in cells:
        if cell["status"] == "failed":
            words = f"{cell['error_type']}: {cell['error_message']}"
            st.error(f"The cell with {plain(_seeds(cell))} failed. {plain(words)}")
    notes: dict[str, list[str]] = {}
    for cell in cells:
        for note in dict.fromkeys(cell["notes"] or []):
            notes.setdefault(note, []).append(_seeds(cell))
    if notes:
        # A note that does not hold for every cell names its cells.
        lines = [note if len(whose) == len(cells) else f"{'; '.join(whose)}: {note}" for note, whose in notes.items()]
        st.info("  \n".join(plain(line) for line in lines))


def _measurements(choice: Choice) -> None:
    board, row = choice
    st.subheader("Measurements")
    found = [column for column in board.columns if column.key in row.metrics or column.key in row.undefined]
    if not found:
        st.text("None: no cell of this method finished.")
        return
    counts = Counter(column.metric for column in found)
    # Parameters have a column of their own; in the name they are needed only if a metric occurs twice.
    titles = [metric_title(own.metric) if counts[own.metric] == 1 else column_title(own) for own in found]
    frame = pd.DataFrame(
        {
            "axis": [axis_of(column) for column in found],
            "metric": [visible(title) for title in titles],
            "value": [
                mean_and_spread(row.metrics[c.key], c) if c.key in row.metrics else absent(row, c) for c in found
            ],
            "unit": [unit_of(column) for column in found],
            "direction": [DIRECTIONS[column.direction] for column in found],
            "rank": [_rank(board, row.metrics.get(c.key), c.key) for c in found],
            "over": [_over(row.metrics.get(c.key)) for c in found],
            "version": [column.version for column in found],
            "parameters": [compact(column.params) for column in found],
        }
    )
    order = {axis: place for place, axis in enumerate(AXES)}
    frame = frame.sort_values("axis", key=lambda axes: axes.map(order), kind="stable")
    widths = {"metric": st.column_config.TextColumn(width=270), "value": st.column_config.TextColumn(width=140)}
    st.dataframe(frame, hide_index=True, height="content", column_config=widths, alt="All measurements of this method.")
    st.caption("Mean ± sample standard deviation over cells (token and init seeds); a pooled value has its interval.")


def _over(own: Aggregate | None) -> str:
    if own is None:
        return ""
    if own.n_observations is not None:
        return f"{own.n_observations} pairs"
    return f"{own.n} cell{'' if own.n == 1 else 's'}"


def _rank(board: Board, own: Any, key: str) -> str:
    if own is None or own.rank is None:
        return ""
    return f"{own.rank} of {sum(key in row.metrics for row in board.rows)}"


def _units(store: Store, choice: Choice, cells: Sequence[Mapping[str, Any]]) -> None:
    finished = [cell for cell in cells if cell["status"] == "finished"]
    if not finished:
        return
    reference = queries.reference_cell(store, finished[0]["cell_id"])
    own = [cell["cell_id"] for cell in finished]
    wanted = own if reference is None or reference in own else [*own, reference]
    frame = queries.histogram(store, wanted, _BINS)
    if frame.empty:
        return
    st.subheader("MS scores of its units")
    name = visible(choice.row.title)
    counts = {name: _binned(frame[frame["cell_id"].isin(own)])}
    styles = {name: marks([choice.row.method])[choice.row.method]}
    if reference is not None and reference not in own:
        counts["unmodified layer"] = _binned(frame[frame["cell_id"] == reference])
        styles["unmodified layer"] = Mark(LINE, "cross")
    chart.show(
        histogram_figure(counts, styles, low=-1.0, high=1.0, title=f"MS score of a unit, {DIRECTIONS['higher']}"),
        "histogram",
        f"Distribution of the MS scores of the units of {name}.",
    )
    st.caption("Alive units with a defined score, all cells of the method together.")


def _binned(frame: pd.DataFrame) -> list[float]:
    totals = frame.groupby("bin")["n"].sum()
    return [float(totals.get(number, 0)) for number in range(_BINS)]


def _stability(store: Store, choice: Choice) -> None:
    frame = queries.group_scores(store, choice.row.config_id, choice.row.label)
    records = [
        record
        for record in frame.astype(object).to_dict("records")
        if set(record["cell_ids"] or ()) & set(choice.row.cell_ids)
    ]
    if not records:
        return
    st.subheader("Stability over seeds")
    st.dataframe(
        pd.DataFrame(
            {
                "metric": [visible(metric_title(own["metric"])) for own in records],
                "value": [number(own["value"]) for own in records],
                "spread": [number(own["uncertainty"]) for own in records],
                "of": [visible(own["uncertainty_kind"] or "") for own in records],
                "pairs of cells": [own["n"] for own in records],
                "direction": [DIRECTIONS[own["direction"]] for own in records],
                "parameters": [compact(own["params"]) for own in records],
            }
        ),
        hide_index=True,
        alt="Scores of several cells together.",
    )
    with st.expander("Evidence of each pair"):
        st.text("\n\n".join(f"{visible(own['metric'])}: {compact(own['details'])}" for own in records))


def _curves(store: Store, cells: Sequence[Mapping[str, Any]]) -> None:
    frame = queries.curves(store, [cell["cell_id"] for cell in cells])
    if frame.empty:
        return
    st.subheader("Training")
    names = {cell["cell_id"]: _seeds(cell) for cell in cells}
    figures = curve_figures(frame, names)
    across = st.columns(min(len(figures), 2))
    for place, (series, figure) in enumerate(figures.items()):
        with across[place % len(across)]:
            chart.show(figure, f"curve {series}", f"Training curve of each cell: {visible(series.replace('_', ' '))}.")


def _properties(store: Store, choice: Choice) -> None:
    board, row = choice
    # A row with its own cell id is of this configuration on this board.
    every = _verdicts(data.stamp(), board.backbone, board.site, store)
    own = next((found for found in every if set(found.cell_ids) & set(row.cell_ids)), None)
    if own is None:
        return
    st.subheader("Properties, measured")
    verdicts = {name: own.verdicts[name] for name in PROPERTIES}
    st.table(
        pd.DataFrame(
            {
                "property": [name.replace("_", "-") for name in verdicts],
                "measured": [
                    f"**{found.verdict}**{' ⚠ against its claim' if found.contradicts_claim else ''}"
                    for found in verdicts.values()
                ],
                "evidence": [plain(found.evidence) for found in verdicts.values()],
                "it claims": [_yes_or_no(found.claimed) for found in verdicts.values()],
                "the paper's Table 1": [_yes_or_no(found.published) for found in verdicts.values()],
            }
        ).set_index("property"),
        border="horizontal",
    )
    st.caption("A verdict follows from measurements alone; claims and the published table stand beside it.")


@st.cache_resource(max_entries=16, show_spinner=False)
def _verdicts(stamp: tuple[str, int, int], backbone: str, site: str, _opened: Store) -> list[MethodProperties]:
    return properties(_opened, backbone=backbone, site=site)


def _yes_or_no(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"


def _configuration(cells: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("Configuration")
    config = cells[0]["config"] or {}
    if not config:
        st.text("It has no settings.")
        return
    frame = pd.DataFrame({"setting": [visible(key) for key in config], "value": [compact(v) for v in config.values()]})
    st.dataframe(frame, hide_index=True, height="content", alt="Settings of the method.")


def _provenance(cells: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("Provenance")
    frame = pd.DataFrame(
        {
            "cell": [cell["cell_id"] for cell in cells],
            "seeds": [_seeds(cell) for cell in cells],
            "status": [cell["status"] for cell in cells],
            "units": [cell["n_units"] for cell in cells],
            "fit": [duration(cell["fit_seconds"]) for cell in cells],
            "whole cell": [duration(cell["seconds"]) for cell in cells],
            "run": [visible(cell["run_id"] or "not recorded") for cell in cells],
            "code": [visible(cell["code_revision"] or "not recorded") for cell in cells],
            "device": [visible(f"{cell['device'] or 'not recorded'} {cell['dtype'] or ''}") for cell in cells],
        }
    )
    st.dataframe(frame, hide_index=True, height="content", alt="The cells of this method.")
    first = cells[0]
    lines = [
        f"configuration {first['config_id']}",
        f"image set {first['dataset'] or 'not recorded'}",
        f"evaluation split {first['evaluation_fingerprint'] or 'not recorded'}",
        f"probing split {first['probing_fingerprint'] or 'not recorded'}",
        f"layer width in {first['d_in']}, out {first['d_out']}",
    ]
    st.text(visible("\n".join(lines)))
    if first["versions"]:
        with st.expander("Versions of the packages"):
            st.text(visible("\n".join(f"{name} {value}" for name, value in first["versions"].items())))
    environments = list(dict.fromkeys(compact(cell["environment"]) for cell in cells if cell["environment"]))
    if environments:
        with st.expander("Processor, threads and libraries"):
            st.text(visible("\n".join(environments)))
    with st.expander("Identity: the complete configuration that the cell's id is a hash of"):
        st.json(first["identity"] or {}, expanded=False)


def _seeds(cell: Mapping[str, Any]) -> str:
    parts = [f"{name} seed {cell[f'{name}_seed']}" for name in ("token", "init") if cell[f"{name}_seed"] is not None]
    return ", ".join(part for part in parts if "<NA>" not in part) or "no seed"


if __name__ == "__main__":
    render()
