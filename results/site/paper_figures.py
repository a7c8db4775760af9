"""Figures that the ELUDe paper reports for the backbone of a layer, as a table beside the measured ones."""

from __future__ import annotations

from typing import NamedTuple

from results.app.published_marks import is_published_backbone, is_published_layer
from results.boards.board import Board
from results.boards.lead_columns import metric_name
from results.published.points import Published, published_points
from results.short_number import short_number

_METRICS = ("ms_score", "r2", "accuracy", "win_rate")


class PublishedTable(NamedTuple):
    """Published figures in one setting."""

    setting: str
    metrics: tuple[str, ...]
    """headings"""
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """method and its values, with the printed spread or interval"""


def published_tables_of(board: Board) -> tuple[PublishedTable, ...]:
    """Return the published figures of the backbone of a board, those of its layer if there are any."""
    entries: dict[str, list[Published]] = {}
    for entry in published_points():
        if is_published_backbone(board, entry.setting):
            entries.setdefault(entry.setting, []).append(entry)
    of_layer = [setting for setting in entries if is_published_layer(board, setting)]
    return tuple(_table(setting, entries[setting]) for setting in of_layer or entries)


def _table(setting: str, entries: list[Published]) -> PublishedTable:
    metrics = [metric for metric in _METRICS if any(metric in entry.values for entry in entries)]
    return PublishedTable(
        setting,
        tuple(f"{metric_name(metric)} (%)" for metric in metrics),
        tuple((entry.method, tuple(_value(entry, metric) for metric in metrics)) for entry in entries),
    )


def _value(entry: Published, metric: str) -> str:
    if metric not in entry.values:
        return "–"
    text = short_number(100 * entry.values[metric])
    if metric in entry.errors:
        low, high = (short_number(100 * end) for end in entry.errors[metric])
        text += f" [{low}, {high}]"
    return text
