"""Boards of trials: cells that ran at ``--scale tiny``, as a smoke test.

Needs only the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from results.boards.board import Board

#: Suffix of suites at that scale, and of the sweeps before them.
_TINY = re.compile(r"-tiny(-sweep)?$")
WARNING = "Cells of this board ran at `--scale tiny`, a smoke test: their figures are meaningless."
#: The same in a heading.
MARK = "scale tiny: figures are meaningless"


def trial_notes(cells: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the warning if one of a board's cells was run for a suite at that scale."""
    return [WARNING] if any(_TINY.search(cell["suite"] or "") for cell in cells) else []


def marked(title: str, board: Board) -> str:
    """Return a board's title, with the warning if it has one."""
    return f"{title} ({MARK})" if WARNING in board.notes else title
