"""Method: all data of one row of the leaderboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from results.app import chart, data, flags, key_numbers, navigation, queries, tables, widgets
from results.app.column_groups import group_of
from results.app.default_rows import focus_row, rival_row
from results.app.figures.curves import curve_figures
from results.app.figures.histogram import histogram_figure
from results.app.queries import Record
from results.app.titles import DIRECTIONS, compact, distinct, number, plain, visible
from results.app.widgets import Choice
from results.boards.board import Aggregate, Board, Column, Row
from results.boards.columns import is_detail
from results.boards.lead_columns import column_name, lead_of, metric_name, position, unit_text
from results.boards.value_text import value_text
from results.comparison.unit_values import UNIT_VALUES
from results.duration_text import duration_text
from results.minus_sign import with_minus
from results.pictures.theme import LINE, Mark, marks
from results.reports.properties import PROPERTIES, MethodProperties, properties
from results.store import Store
from results.store.images import reference_cell
from results.store.stability_versions import without_superseded

_BINS = 100
_FEW_NOTES = 2
# Columns of the main measurements, in pixels.
_WIDTHS = {"metric": 165, "value": 190, "rank": 60, "over": 215}


def render() -> None:
    """Show the page."""
    with data.page() as store:
        heading = st.container()
        boards = data.require_boards(store)
        choice = widgets.row_of(boards, default=focus_row(boards))
        heading.title(plain(choice.row.title_with_flags))
        flags.warn(choice.row)
        key_numbers.show(store, choice)
        cells = queries.cells(store, choice.row.cell_ids)
        finished = [cell["cell_id"] for cell in cells if cell["status"] == "finished"]
        _links(choice, finished)
        _failures(cells)
        _units(store, choice, finished)
        _measurements(choice)
        _properties(store, choice)
        _stability(store, choice)
        _curves(store, cells)
        _configuration(cells)
        _provenance(cells)


def _links(choice: Choice, finished: Sequence[str]) -> None:
    board, row = choice
    rival = rival_row(board, row)
    others = [other for other in board.rows if other is not row]
    with st.container(horizontal=True, vertical_alignment="center"):
        if finished:
            navigation.link("units", "Units of this method", cell=finished[0])
        if rival is not None:
            _compare(row, rival.row)
        if others:
            with st.popover("Compare with another method", type="tertiary"):
                for other in others:
                    _compare(row, other)


def _compare(row: Row, other: Row) -> None:
    cells = {"a": row.cell_ids[0], "b": other.cell_ids[0]}
    navigation.link("compare", f"Compare with {plain(other.title_with_flags)}", **cells)


def _failures(cells: Sequence[Record]) -> None:
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
        folded = st.expander(f"Notes of the run ({len(lines)})") if len(lines) > _FEW_NOTES else st.container()
        folded.info("  \n".join(plain(line) for line in lines))


def _measurements(choice: Choice) -> None:
    board, row = choice
    st.header("Measurements")
    measured = [column for column in board.columns if column.key in row.metrics or column.key in row.undefined]
    measured.sort(key=position)
    if not measured:
        st.text("No cell of this method has finished.")
        return
    main = [column for column in measured if not is_detail(column)] or measured
    counts = Counter(column.metric for column in measured)
    table = _measurement_table(board, row, main, counts)
    tables.show(
        {
            "metric": [f"{name}{column.arrow}" for name, column in zip(table["metric"], main, strict=True)],
            "value": [f"{value} {unit}".rstrip() for value, unit in zip(table["value"], table["unit"], strict=True)],
            **{name: table[name] for name in ("rank", "over", "meaning")},
        },
        "Main measurements of this method.",
        height="content",
        column_config={name: st.column_config.TextColumn(width=width) for name, width in _WIDTHS.items()},
    )
    with st.expander(f"All {len(measured)} measurements, with versions and parameters"):
        tables.show(_measurement_table(board, row, measured, counts), "All measurements of this method.")
    st.caption(
        "Mean ± standard error, from the spread over seeds and the units or images within a cell; a pooled value has "
        "its 95 % interval. ↑, ↓: higher, lower is better. Rank: among the rows of the group without a flag; a value "
        "without one is not ranked."
    )


def _measurement_table(
    board: Board, row: Row, columns: Sequence[Column], counts: Mapping[str, int]
) -> dict[str, list[Any]]:
    return {
        "group": [group_of(column) for column in columns],
        "metric": [_metric(column, counts) for column in columns],
        "value": [with_minus(value_text(row, column, ranked=False)) for column in columns],
        "unit": [unit_text(column) for column in columns],
        "direction": [DIRECTIONS[column.direction] for column in columns],
        "rank": [_rank(board, row.metrics.get(column.key), column.key) for column in columns],
        "over": [_over(row, column) for column in columns],
        "meaning": [lead.explanation if (lead := lead_of(column)) else "" for column in columns],
        "version": [column.version for column in columns],
        "parameters": [compact(column.params) for column in columns],
    }


def _metric(column: Column, counts: Mapping[str, int]) -> str:
    # Parameters have a column of their own; in the name they are needed only if a metric occurs twice.
    return column_name(column, with_variant=counts[column.metric] > 1)


def _over(row: Row, column: Column) -> str:
    """Return over what a value is: comparisons, pairs of runs, or seeds and the units or images of each."""
    aggregate = row.metrics.get(column.key)
    if aggregate is None:
        return ""
    count = aggregate.n_observations
    if aggregate.interval is not None:
        agreement = column.panel_agreement
        text = f"{count} comparisons"
        return text if agreement is None else with_minus(f"{text}, agreement {agreement:.2f}")
    if aggregate.of_pairs:
        return f"{aggregate.n} pair{'' if aggregate.n == 1 else 's'} of runs"
    lead = lead_of(column)
    # Older versions of a chance level were over random images.
    is_of_units = column.metric in UNIT_VALUES and not column.metric.endswith("_null")
    kind = lead.counted if lead and lead.counted else "units" if is_of_units else ""
    of_seeds = f" of {row.n_seeds}" if aggregate.n != row.n_seeds else ""
    text = f"{aggregate.n}{of_seeds} seed{'' if aggregate.n == 1 and not of_seeds else 's'}"
    return f"{text}, {count} {kind} each" if count and kind else text


def _rank(board: Board, aggregate: Aggregate | None, key: str) -> str:
    if aggregate is None or aggregate.rank is None:
        return ""
    group = next(row.group for row in board.rows if row.metrics.get(key) is aggregate)
    ranks = [row.metrics[key].rank for row in board.rows if key in row.metrics and row.group == group]
    return f"{aggregate.rank} of {sum(rank is not None for rank in ranks)}"


def _units(store: Store, choice: Choice, finished: Sequence[str]) -> None:
    if not finished:
        return
    reference = reference_cell(store, finished[0])
    if reference in finished:
        reference = None
    frame = queries.histogram(store, finished if reference is None else [*finished, reference], _BINS)
    if frame.empty:
        return
    st.header("MS scores of the units")
    control = next((row.title for row in choice.board.rows if reference in row.cell_ids), "backbone only")
    name, other = distinct([choice.row.title_with_flags, control])
    per_cell = {cell_id: _binned(frame[frame["cell_id"] == cell_id]) for cell_id in (*finished, reference) if cell_id}
    counts = {name: np.sum([per_cell[cell_id] for cell_id in finished], axis=0).tolist()}
    styles = {name: marks([choice.row.method])[choice.row.method]}
    if reference is not None:
        counts[other] = per_cell[reference]
        styles[other] = Mark(LINE, "cross")
    title = f"MS score of a unit, {DIRECTIONS['higher']}"
    figure = histogram_figure(counts, styles, title, n_pooled={name: len(finished)})
    chart.show(figure, "histogram", f"Distribution of the MS scores of the units of {name}.")
    text = "Alive units with a defined score."
    if len(finished) > 1:
        numbers = ", ".join(f"{sum(per_cell[cell_id]):,.0f}" for cell_id in finished)
        text += f" The {len(finished)} seeds of the method are pooled: {numbers} units."
    st.caption(text)


def _binned(frame: pd.DataFrame) -> list[float]:
    counts: list[float] = np.bincount(frame["bin"], weights=frame["n"], minlength=_BINS).tolist()
    return counts


def _stability(store: Store, choice: Choice) -> None:
    scores = queries.group_scores(store, choice.row.config_id, choice.row.label)
    scores = without_superseded([score for score in scores if set(score["cell_ids"] or ()) & set(choice.row.cell_ids)])
    if not scores:
        return
    st.header("Stability over seeds")
    tables.show(
        {
            "metric": [metric_name(score["metric"]) for score in scores],
            "version": [score["version"] for score in scores],
            "value": [number(score["value"]) for score in scores],
            "spread": [number(score["uncertainty"]) for score in scores],
            "kind of spread": [score["uncertainty_kind"] or "" for score in scores],
            "pairs of cells": [score["n"] for score in scores],
            "direction": [DIRECTIONS[score["direction"]] for score in scores],
            "parameters": [compact(score["params"]) for score in scores],
        },
        "Scores over several cells.",
    )
    with st.expander("Evidence of each pair"):
        st.text("\n\n".join(f"{visible(score['metric'])}: {compact(score['details'])}" for score in scores))


def _curves(store: Store, cells: Sequence[Record]) -> None:
    frame = queries.curves(store, [cell["cell_id"] for cell in cells])
    if frame.empty:
        return
    st.header("Training")
    names = {cell["cell_id"]: _seeds(cell) for cell in cells}
    figures = curve_figures(frame, names)
    across = st.columns(min(len(figures), 2))
    for count, (series, figure) in enumerate(figures.items()):
        with across[count % len(across)]:
            chart.show(figure, f"curve {series}", f"Training curve of each cell: {visible(series.replace('_', ' '))}.")


def _properties(store: Store, choice: Choice) -> None:
    board, row = choice
    # A row with its own cell id is of this configuration on this board.
    every = _verdicts(data.stamp(), board.backbone, board.site, store)
    properties_of_row = next((entry for entry in every if set(entry.cell_ids) & set(row.cell_ids)), None)
    if properties_of_row is None:
        return
    st.header("Properties, measured")
    verdicts = {name: properties_of_row.verdicts[name] for name in PROPERTIES}
    st.table(
        pd.DataFrame(
            {
                "property": [name.replace("_", "-") for name in verdicts],
                "measured": [
                    f"**{entry.verdict}**{' ⚠ contradicts the claim' if entry.contradicts_claim else ''}"
                    for entry in verdicts.values()
                ],
                "evidence": [plain(with_minus(entry.evidence)) for entry in verdicts.values()],
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
    return {None: "–", True: "yes", False: "no"}[value]


def _configuration(cells: Sequence[Record]) -> None:
    st.header("Configuration and provenance")
    config = cells[0]["config"] or {}
    if not config:
        st.text("This method has no settings.")
        return
    with st.expander(f"Settings of the method ({len(config)})"):
        settings = {"setting": list(config), "value": [compact(v) for v in config.values()]}
        tables.show(settings, "Settings of the method.", height="content")


def _provenance(cells: Sequence[Record]) -> None:
    tables.show(
        {
            "cell": [cell["cell_id"] for cell in cells],
            "seeds": [_seeds(cell) for cell in cells],
            "status": [cell["status"] for cell in cells],
            "units": pd.array([cell["n_units"] for cell in cells]),
            "fit": [duration_text(cell["fit_seconds"]) for cell in cells],
            "whole cell": [duration_text(cell["seconds"]) for cell in cells],
            "run": [cell["run_id"] or "not recorded" for cell in cells],
            "code": [cell["code_revision"] or "not recorded" for cell in cells],
            "device": [f"{cell['device'] or 'not recorded'} {cell['dtype'] or ''}" for cell in cells],
        },
        "The cells of this method.",
        height="content",
    )
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


def _seeds(cell: Record) -> str:
    seeds = {name: cell[f"{name}_seed"] for name in ("token", "init")}
    return ", ".join(f"{name} seed {seed}" for name, seed in seeds.items() if seed is not None) or "no seed"


if __name__ == "__main__":
    render()
