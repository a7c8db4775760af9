"""Values behind the front: a table of the page, and the same rows in full as CSV."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from results.app.figures.front_scales import short_interval
from results.app.seed_range import RANGE, is_seed_range
from results.app.standings import Point, is_candidate
from results.app.titles import plain, title_and_unit
from results.boards.board import Column
from results.export.write import csv_text


def show(measured: Sequence[Point], x: Column, y: Column) -> None:
    """Show a row per method, those that are compared first."""
    if not measured:
        return
    ordered = sorted(
        measured,
        key=lambda point: (
            not is_candidate(point.row),
            point.row.group == "control",
            -(point.share or 0.0),
            not point.on_front,
            point.row.title,
        ),
    )
    # Short, so a table of the page's text, which a screen reader can read and a browser shows at once.
    with st.container(key="front_table"):
        st.table(
            {
                "method": [plain(point.row.title_with_flags) for point in ordered],
                _header(y): [short_interval(point.y) for point in ordered],
                _header(x): [short_interval(point.x) for point in ordered],
                "expansion": ["" if point.factor is None else f"{point.factor:.2f}" for point in ordered],
                "seeds": [point.row.cell_count for point in ordered],
                "on the front": [_on_front(point) for point in ordered],
            },
            border="horizontal",
        )


def csv(measured: Sequence[Point], x: Column, y: Column) -> str:
    """Return the values of the plot as CSV, unrounded, in the units of its axes."""
    content: dict[str, list[object]] = {
        "method": [point.row.title for point in measured],
        "group": [point.row.group for point in measured],
        "flags": [", ".join(flag.name for flag in point.row.flags) for point in measured],
        "seeds": [point.row.cell_count for point in measured],
        "expansion_factor": [point.factor for point in measured],
    }
    for column, spans in ((y, [point.y for point in measured]), (x, [point.x for point in measured])):
        ends = ("lowest seed", "highest seed") if is_seed_range(column) else ("95 % low", "95 % high")
        content[column.name_with_unit] = [mean for mean, _, _ in spans]
        for number, end in enumerate(ends, 1):
            # Ends that are equal are no interval.
            content[f"{column.name_with_unit} {end}"] = [span[number] if span[2] > span[1] else None for span in spans]
    content["on_front"] = [point.on_front if is_candidate(point.row) else None for point in measured]
    content["front_share"] = [point.share for point in measured]
    content["cells"] = [" ".join(point.row.cell_ids) for point in measured]
    return csv_text(pd.DataFrame(content))


def _header(column: Column) -> str:
    return plain(f"{title_and_unit(column)} [{RANGE if is_seed_range(column) else '95 %'}]")


def _on_front(point: Point) -> str:
    if not is_candidate(point.row):
        return point.row.group if point.row.group != "method" else "not ranked"
    share = "" if point.share is None else f", {100 * point.share:.0f} %"
    return f"{'yes' if point.on_front else 'no'}{share}"
