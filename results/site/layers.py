"""Content of one layer: its board, headline, front, table, and a page for each of its rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from results.app import queries
from results.app.headline_words import lead_sentence, reference_sentence, side_sentence
from results.app.queries import Record
from results.app.standings import points, without_errors
from results.boards.board import Board, Column, Row
from results.boards.lead_columns import column_name, group_of, lead_of, position, unit_text
from results.boards.ranking import HEADLINE
from results.boards.trials import marked
from results.boards.value_text import flag_lines, value_text
from results.comparison.headline import FAITHFULNESS, headline
from results.comparison.row_errors import RowErrors
from results.minus_sign import with_minus
from results.pictures.theme import Mark, marks
from results.short_number import short_number
from results.site.board_table import BoardTable, board_table, interval_of, provenance
from results.site.front import Front, front
from results.site.names import layer_name, row_name
from results.site.paper_figures import PublishedTable, published_tables_of
from results.site.sources import Sources
from results.site.texts import day, setting
from results.site.units import seeds_text
from results.store import Store

#: Quantities on top of a method's page.
_KEY = (*HEADLINE, "r2", "agreement", "win_rate", "stability", "expansion_factor", "fit_seconds")
_MOST_SETTINGS = 60
_MOST_CELLS = 60
_BINS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """Layer of the site.

    Attributes:
        name: of its anchors and files.
        facts: data set, seeds and number of rows in words.
        headline: who is ahead, by how much and how sure that is; "" if no two methods can be compared.
        beside: what that costs, and the differences to the controls, in a line each.
        contrasts: the headline's comparisons with all their numbers.
        reading: sentences on how to read the figure.
        published: figures of the paper for the same backbone.
    """

    name: str
    board: Board
    title: str
    facts: str
    headline: str
    beside: tuple[str, ...]
    contrasts: tuple[str, ...]
    front: Front | None
    table: BoardTable
    reading: tuple[str, ...]
    missing: str
    flag_lines: tuple[str, ...]
    published: tuple[PublishedTable, ...]


class Measurement(NamedTuple):
    """Measured quantity on a method's page."""

    group: str
    name: str
    value: str
    interval: str
    unit: str
    direction: str
    meaning: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodPage:
    """Page of one row.

    Attributes:
        key: (name, value, interval) of the quantities on top.
        histogram: (x, height, height of backbone only) of the units' MS scores, in px of 400 x 90.
        failures: seeds and error of each failed cell.
        provenance: where the row came from, in words.
        versions: of the packages, in words.
        finished: ids of its finished cells.
    """

    name: str
    row: Row
    mark: Mark
    layer: str
    layer_title: str
    key: tuple[tuple[str, str, str], ...]
    measurements: tuple[Measurement, ...]
    settings: tuple[tuple[str, str], ...]
    cells: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]
    histogram: tuple[tuple[float, float, float], ...]
    provenance: Mapping[str, str]
    versions: str
    finished: tuple[str, ...]


def cells_of_rows(store: Store, board: Board) -> dict[str, list[Record]]:
    """Return name of each row -> its cells."""
    every = {cell["cell_id"]: cell for cell in queries.cells(store, [i for row in board.rows for i in row.cell_ids])}
    return {row_name(board, row): [every[i] for i in row.cell_ids if i in every] for row in board.rows}


def layer(sources: Sources, board: Board, cells_of: Mapping[str, Sequence[Record]]) -> Layer:
    """Return the content of a board's layer; takes seconds, because of the headline's bootstrap."""
    errors = RowErrors(sources.store, board)
    x, y = _axis(board, FAITHFULNESS), _axis(board, (*HEADLINE, "win_rate"))
    drawn = None
    reading: list[str] = []
    missing = ""
    if x is None or y is None:
        missing = "There is no figure: no method has both a score of interpretability and one of faithfulness."
    else:
        measured = [
            point for point in points(board.rows, x, y, errors) if all(map(math.isfinite, (*point.x, *point.y)))
        ]
        drawn = front(board, measured, x, y)
        missing = "" if drawn else "There is no figure: no method has both scores."
        one_seed, exact = without_errors([row for row in board.rows if not row.flags], x, y, errors)
        if one_seed:
            reading.append(f"One seed, so without an interval and a front share: {', '.join(one_seed[:20])}.")
        if exact:
            reading.append(f"Without an error estimate, and drawn as exact: {', '.join(exact[:20])}.")
    content = headline(sources.store, board)
    contrasts = content.contrasts if content else ()
    beside = (side_sentence(contrasts[0]), reference_sentence(contrasts[1:])) if contrasts else ()
    return Layer(
        name=layer_name(board),
        board=board,
        title=marked(board.layer_title, board),
        facts=_facts(board),
        headline=with_minus(lead_sentence(contrasts[0])) if contrasts else "",
        beside=tuple(map(with_minus, filter(None, beside))),
        contrasts=tuple(with_minus(contrast.sentence) for contrast in contrasts),
        front=drawn,
        table=board_table(board, errors, sources, cells_of),
        reading=tuple(reading),
        missing=missing,
        flag_lines=tuple(flag_lines((row.title, row) for row in board.rows)[:40]),
        published=published_tables_of(board),
    )


def _axis(board: Board, metrics: Sequence[str]) -> Column | None:
    return next(
        (
            c
            for metric in metrics
            for c in board.columns_called([metric])
            if any(c.key in r.metrics for r in board.rows)
        ),
        None,
    )


def _facts(board: Board) -> str:
    seeds = max((row.n_seeds for row in board.rows), default=0)
    data = f"images: {board.dataset}" if board.dataset else "images not recorded"
    rows = len(board.rows)
    return f"{data} · up to {seeds} seed{'' if seeds == 1 else 's'} per row · {rows} row{'' if rows == 1 else 's'}"


def method_page(
    sources: Sources, board: Board, row: Row, cells: Sequence[Record], reference: Sequence[str]
) -> MethodPage:
    """Return the page of one row.

    Args:
        sources: the stores.
        board: its board.
        row: the row.
        cells: of the row, as of `queries.cells`.
        reference: finished cells of backbone only on the board.
    """
    measured = sorted((c for c in board.columns if c.key in row.metrics or c.key in row.undefined), key=position)
    finished = tuple(cell["cell_id"] for cell in cells if cell["status"] == "finished")
    config = next((cell["config"] for cell in cells if cell["config"]), None) or {}
    versions = next((cell["versions"] for cell in cells if cell["versions"]), None) or {}
    key = [c for metric in _KEY for c in measured if c.metric == metric and c.key in row.metrics]
    return MethodPage(
        name=row_name(board, row),
        row=row,
        mark=marks([row.method])[row.method],
        layer=layer_name(board),
        layer_title=marked(board.layer_title, board),
        key=tuple((column_name(c), _value(row, c), _interval(row, c)) for c in key[:8]),
        measurements=tuple(_measurement(row, column) for column in measured[:120]),
        settings=tuple((str(name), setting(value)) for name, value in list(config.items())[:_MOST_SETTINGS]),
        cells=tuple(_cell(cell, sources) for cell in cells[:_MOST_CELLS]),
        notes=tuple(dict.fromkeys(str(note) for cell in cells for note in cell["notes"] or []))[:20],
        failures=tuple(
            (seeds_text(cell), f"{cell['error_type']}: {cell['error_message']}")
            for cell in cells
            if cell["status"] == "failed"
        )[:20],
        histogram=_histogram(sources.store, finished, [] if set(reference) & set(finished) else reference),
        provenance=provenance(cells, sources),
        versions=", ".join(f"{name} {value}" for name, value in list(versions.items())[:60]),
        finished=finished,
    )


def _value(row: Row, column: Column) -> str:
    factor = 100.0 if column.unit == "fraction" else 1.0
    unit = unit_text(column)
    return short_number(row.metrics[column.key].mean * factor) + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")


def _interval(row: Row, column: Column) -> str:
    aggregate = row.metrics.get(column.key)
    ends = interval_of(row, column, aggregate) if aggregate is not None else None
    if ends is None:
        return ""
    factor = 100.0 if column.unit == "fraction" else 1.0
    low, high = (short_number(end * factor) for end in ends)
    return "" if low == high else f"[{low}, {high}]"


def _measurement(row: Row, column: Column) -> Measurement:
    lead = lead_of(column)
    return Measurement(
        group=group_of(column),
        name=column_name(column),
        value=with_minus(value_text(row, column, ranked=False)),
        interval=_interval(row, column),
        unit=unit_text(column),
        direction=column.arrow.strip(),
        meaning=lead.explanation if lead else "",
    )


def _cell(cell: Record, sources: Sources) -> dict[str, str]:
    return {
        "cell": cell["cell_id"],
        "seeds": seeds_text(cell),
        "status": cell["status"],
        "units": "" if cell["n_units"] is None else str(cell["n_units"]),
        "fit (s)": short_number(cell["fit_seconds"]),
        "date": day(cell["started_at"]),
        "code": cell["code_revision"] or "not recorded",
        "device": " ".join(filter(None, (cell["device"], cell["dtype"]))) or "not recorded",
        "run": cell["run_id"] or "not recorded",
        "store": ", ".join(sources.stores_of([cell["cell_id"]])),
    }


def _histogram(store: Store, cells: Sequence[str], reference: Sequence[str]) -> tuple[tuple[float, float, float], ...]:
    """Return the shares of the units in bins of their MS score, of the row and of backbone only."""
    if not cells:
        return ()
    frame = queries.histogram(store, [*cells, *reference], _BINS)
    shares = []
    for ids in (cells, reference):
        part = frame[frame["cell_id"].isin(list(ids))].groupby("bin")["n"].sum()
        total = float(part.sum())
        shares.append([float(part.get(number, 0)) / total if total else 0.0 for number in range(_BINS)])
    # Scores below 0 are rare: the left half is cut off if it is empty.
    first = 0 if any(value > 0 for side in shares for value in side[: _BINS // 2]) else _BINS // 2
    most = max((*shares[0], *shares[1]))
    if most <= 0:
        return ()
    step = 400 / (_BINS - first)
    return tuple(
        ((number - first) * step, 80 * shares[0][number] / most, 80 * shares[1][number] / most)
        for number in range(first, _BINS)
    )
