"""Frontiers of the methods of a store as tables and JSON content (docs/aggregate.md)."""

from __future__ import annotations

from typing import Any

from results.boards.board import BoardKey, Column, Row
from results.boards.lead_columns import column_name, unit_text
from results.boards.trials import marked
from results.comparison.frontier import BoardFrontier, Curve
from results.store.records import grouped
from results.tables import Table
from results.visible_text import names_text


def table(frontier: BoardFrontier) -> Table:
    """Return the curves of a board as a table of text: method, settings, range of costs, area and interval."""
    x, y = frontier.x, frontier.y
    unit = f" ({unit_text(y)})" if unit_text(y) else ""
    title = f"{marked(frontier.board.title, frontier.board)}: {column_name(y)} over {column_name(x)}"
    header = ["method", "group", "settings", "on the envelope", f"{x.key} from", "to", f"area{unit} ↑"]
    header += ["95 % interval", "minus the largest", "its 95 % interval", "seeds"]
    rows = [_line(curve, frontier) for curve in frontier.curves]
    notes = [_limits_note(frontier)]
    for reason, curves in grouped([curve for curve in frontier.curves if curve.reason], lambda c: c.reason).items():
        notes.append(f"{names_text(curve.title for curve in curves)}: {reason}")
    if frontier.absent:
        notes.append(f"without {x.key} above 0 or without {y.key}: {names_text(frontier.absent)}")
    for curve in frontier.curves:
        if curve.area is not None:
            texts = (f"{_setting(p.row, curve)} {p.x:.4g}, {y.text(p.y)}" for p in curve.points)
            notes.append(f"{curve.title}, {x.key} and {y.name_with_unit} of its settings: {'; '.join(texts)}")
    notes += [
        f"area: mean height of the upper envelope over log {x.key}, in straight lines between settings",
        "minus the largest: difference from the method with the largest area, paired by seed and by the images that "
        "both share",
        "intervals: from the spread over seeds and the error within a cell; not corrected for several comparisons",
    ]
    return Table(title, header, rows, (False, False, *[True] * (len(header) - 2)), notes)


def _limits_note(frontier: BoardFrontier) -> str:
    if frontier.limits is None:
        return f"No limits: fewer than one method has a curve, or the curves share no range of {frontier.x.key}."
    low, high = frontier.limits
    what = "as given" if frontier.is_given else "the range that all methods with a curve share"
    return f"limits: {frontier.x.key} {low:.4g} to {high:.4g}, {what}"


def _line(curve: Curve, frontier: BoardFrontier) -> list[str]:
    y, (low, high) = frontier.y, curve.range
    return [
        curve.title,
        curve.group,
        str(len(curve.points)),
        str(len(set(curve.envelope.points))) if curve.envelope else "-",
        f"{low:.4g}",
        f"{high:.4g}",
        "-" if curve.area is None else y.text(curve.area),
        _interval_text(curve.interval, y),
        "-" if curve.behind is None else y.text(curve.behind),
        _interval_text(curve.behind_interval, y),
        str(len(curve.areas)) if curve.area is not None else "-",
    ]


def _interval_text(interval: tuple[float, float] | None, column: Column) -> str:
    return "-" if interval is None else " to ".join(map(column.text, interval))


def _setting(row: Row, curve: Curve) -> str:
    """Return what distinguishes a row from the others of its curve: its title without the label, and its flags."""
    title = row.title_with_flags
    inner = title.removeprefix(curve.title).strip() if len(curve.points) > 1 else title
    return f"{inner or title}:"


def table_json(frontier: BoardFrontier) -> dict[str, Any]:
    """Return the curves of a board as JSON content; values as stored: fractions, not percent."""
    board = frontier.board
    return {
        **{name: getattr(board, name) for name in BoardKey._fields},
        "title": board.title,
        "x": frontier.x.key,
        "y": frontier.y.key,
        "limits": frontier.limits and list(frontier.limits),
        "limits_given": frontier.is_given,
        "absent": list(frontier.absent),
        "curves": [_curve_json(curve) for curve in frontier.curves],
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    corners = set(curve.envelope.points) if curve.envelope else set()
    return {
        "method": curve.method,
        "title": curve.title,
        "group": curve.group,
        "area": curve.area,
        "low": curve.interval and curve.interval[0],
        "high": curve.interval and curve.interval[1],
        "behind": curve.behind,
        "behind_low": curve.behind_interval and curve.behind_interval[0],
        "behind_high": curve.behind_interval and curve.behind_interval[1],
        "areas": [
            {"token_seed": seed[0], "init_seed": seed[1], "area": of_seed} for seed, of_seed in curve.areas.items()
        ],
        "reason": curve.reason,
        "points": [
            {
                "title": point.row.title,
                "config_id": point.row.config_id,
                "flags": [flag.name for flag in point.row.flags],
                "x": point.x,
                "y": point.y,
                "on_envelope": number in corners,
            }
            for number, point in enumerate(curve.points)
        ],
    }
