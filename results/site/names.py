"""Names of the site's files: stable, portable, and made of harmless characters whatever the store contains."""

from __future__ import annotations

import re
import unicodedata

from results.boards.board import Board, BoardKey, Row
from results.store.canonical import short_hash

_CELL = re.compile(r"[0-9a-f]{8,64}")
_MOST_LETTERS = 40


def slug(text: str) -> str:
    """Return the letters and digits of a text in lower case, joined by hyphens; "x" if it has none."""
    ascii_text = unicodedata.normalize("NFKD", text[:400]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:_MOST_LETTERS].strip("-") or "x"


def cell_name(cell_id: str) -> str:
    """Return the id of a cell if it is a hash, as that of every cell of a run; otherwise a hash of it after an x."""
    return cell_id if _CELL.fullmatch(cell_id) else f"x{short_hash(cell_id)}"


def layer_name(board: Board) -> str:
    """Return the name of a board's layer: its backbone and site, and a hash of these and its image sets."""
    digest = short_hash([getattr(board, name) or "" for name in BoardKey._fields])
    return f"{slug(board.backbone)}-{slug(board.site)}-{digest[:8]}"


def row_name(board: Board, row: Row) -> str:
    """Return the name of a row: its label, and a hash of its board, configuration and label."""
    key = [*(getattr(board, name) or "" for name in BoardKey._fields), row.config_id, row.label]
    return f"{slug(row.label)}-{short_hash(key)[:10]}"
