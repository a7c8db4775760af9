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
            navigation.link("units", "Units of this method", cell=finished[0]["cell_id"])
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
    measured = [column for column in board.columns if column.key in row.metrics or column.key in row.undefined]
    if not measured:
        st.text("No cell of this method has finished.")
        return
    counts = Counter(column.metric for column in measured)
    # Parameters have a column of their own; in the name they are needed only if a metric occurs twice.
    titles = [
        metric_title(column.metric) if counts[column.metric] == 1 else column_title(column) for column in measured
    ]
    frame = pd.DataFrame(
        {
            "axis": [axis_of(column) for column in measured],
            "metric": [visible(title) for title in titles],
            "value": [
                mean_and_spread(row.metrics[c.key], c) if c.key in row.metrics else absent(row, c) for c in measured
            ],
            "unit": [unit_of(column) for column in measured],
            "direction": [DIRECTIONS[column.direction] for column in measured],
            "rank": [_rank(board, row.metrics.get(c.key), c.key) for c in measured],
            "over": [_over(row.metrics.get(c.key)) for c in measured],
            "version": [column.version for column in measured],
            "parameters": [compact(column.params) for column in measured],
        }
    )
    order = {axis: position for position, axis in enumerate(AXES)}
    frame = frame.sort_values("axis", key=lambda axes: axes.map(order), kind="stable")
    widths = {"metric": st.column_config.TextColumn(width=270), "value": st.column_config.TextColumn(width=140)}
    st.dataframe(frame, hide_index=True, height="content", column_config=widths, alt="All measurements of this method.")
    st.caption("Mean ± sample standard deviation over cells (token and init seeds); a pooled value has its interval.")


def _over(aggregate: Aggregate | None) -> str:
    if aggregate is None:
        return ""
    if aggregate.n_observations is not None:
        return f"{aggregate.n_observations} pairs"
    return f"{aggregate.n} cell{'' if aggregate.n == 1 else 's'}"


def _rank(board: Board, aggregate: Any, key: str) -> str:
    if aggregate is None or aggregate.rank is None:
        return ""
    return f"{aggregate.rank} of {sum(key in row.metrics for row in board.rows)}"


def _units(store: Store, choice: Choice, cells: Sequence[Mapping[str, Any]]) -> None:
    finished = [cell for cell in cells if cell["status"] == "finished"]
    if not finished:
        return
    reference = queries.reference_cell(store, finished[0]["cell_id"])
    cell_ids = [cell["cell_id"] for cell in finished]
    wanted = cell_ids if reference is None or reference in cell_ids else [*cell_ids, reference]
    frame = queries.histogram(store, wanted, _BINS)
    if frame.empty:
        return
    st.subheader("MS scores of the units")
    name = visible(choice.row.title)
    counts = {name: _binned(frame[frame["cell_id"].isin(cell_ids)])}
    styles = {name: marks([choice.row.method])[choice.row.method]}
    if reference is not None and reference not in cell_ids:
        counts["unmodified layer"] = _binned(frame[frame["cell_id"] == reference])
        styles["unmodified layer"] = Mark(LINE, "cross")
    chart.show(
        histogram_figure(counts, styles, low=-1.0, high=1.0, title=f"MS score of a unit, {DIRECTIONS['higher']}"),
        "histogram",
        f"Distribution of the MS scores of the units of {name}.",
    )
    st.caption("Alive units with a defined score, pooled over all cells of the method.")


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
                "metric": [visible(metric_title(record["metric"])) for record in records],
                "value": [number(record["value"]) for record in records],
                "spread": [number(record["uncertainty"]) for record in records],
                "kind of spread": [visible(record["uncertainty_kind"] or "") for record in records],
                "pairs of cells": [record["n"] for record in records],
                "direction": [DIRECTIONS[record["direction"]] for record in records],
                "parameters": [compact(record["params"]) for record in records],
            }
        ),
        hide_index=True,
        alt="Scores over several cells.",
    )
    with st.expander("Evidence of each pair"):
        st.text("\n\n".join(f"{visible(record['metric'])}: {compact(record['details'])}" for record in records))


def _curves(store: Store, cells: Sequence[Mapping[str, Any]]) -> None:
    frame = queries.curves(store, [cell["cell_id"] for cell in cells])
    if frame.empty:
        return
    st.subheader("Training")
    names = {cell["cell_id"]: _seeds(cell) for cell in cells}
    figures = curve_figures(frame, names)
    across = st.columns(min(len(figures), 2))
    for position, (series, figure) in enumerate(figures.items()):
        with across[position % len(across)]:
            chart.show(figure, f"curve {series}", f"Training curve of each cell: {visible(series.replace('_', ' '))}.")


def _properties(store: Store, choice: Choice) -> None:
    board, row = choice
    # A row with its own cell id is of this configuration on this board.
    every = _verdicts(data.stamp(), board.backbone, board.site, store)
    properties_of_row = next((entry for entry in every if set(entry.cell_ids) & set(row.cell_ids)), None)
    if properties_of_row is None:
        return
    st.subheader("Properties, measured")
    verdicts = {name: properties_of_row.verdicts[name] for name in PROPERTIES}
    st.table(
        pd.DataFrame(
            {
                "property": [name.replace("_", "-") for name in verdicts],
                "measured": [
                    f"**{entry.verdict}**{' ⚠ contradicts the claim' if entry.contradicts_claim else ''}"
                    for entry in verdicts.values()
                ],
                "evidence": [plain(entry.evidence) for entry in verdicts.values()],
                "claimed": [_yes_or_no(entry.claimed) for entry in verdicts.values()],
                "Table 1 of the paper": [_yes_or_no(entry.published) for entry in verdicts.values()],
            }
        ).set_index("property"),
        border="horizontal",
    )
    st.caption("Verdicts follow from measurements only; claims and the published table are listed for comparison.")


@st.cache_resource(max_entries=16, show_spinner=False)
def _verdicts(stamp: tuple[str, int, int], backbone: str, site: str, _opened: Store) -> list[MethodProperties]:
    return properties(_opened, backbone=backbone, site=site)


def _yes_or_no(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"


def _configuration(cells: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("Configuration")
    config = cells[0]["config"] or {}
    if not config:
        st.text("This method has no settings.")
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
    with st.expander("Identity: the complete configuration whose hash is the cell's id"):
        st.json(first["identity"] or {}, expanded=False)


def _seeds(cell: Mapping[str, Any]) -> str:
    parts = [f"{name} seed {cell[f'{name}_seed']}" for name in ("token", "init") if cell[f"{name}_seed"] is not None]
    return ", ".join(part for part in parts if "<NA>" not in part) or "no seed"


if __name__ == "__main__":
    render()
