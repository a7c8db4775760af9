"""Table of the campaign: number of cases tried, clear, and with a fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """Counts of one kind of input."""

    kind: str
    n_tried: int
    n_clear: int
    n_faults: int
    seconds: float


def table(rows: Sequence[Row], *, header: bool = True) -> str:
    """Return the rows as text, with a line of totals if there are several."""
    lines = [f"{'kind':<10} {'tried':>6} {'clear':>6} {'faults':>6} {'seconds':>8}"] if header else []
    total = Row("total", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))) if rows else None  # type: ignore[arg-type]
    for row in [*rows, *([total] if total is not None and len(rows) > 1 else [])]:
        lines.append(f"{row.kind:<10} {row.n_tried:>6} {row.n_clear:>6} {row.n_faults:>6} {row.seconds:>8.0f}")
    return "\n".join(lines)
