"""Export of tables that stand for themselves, such as weighted scores: CSV, Parquet, JSON, Markdown, LaTeX and HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results import tables
from results.errors import StoreError
from results.export.html import document
from results.export.write import FORMATS, csv_text, form_of, parquet_bytes
from results.tables import Table

if TYPE_CHECKING:
    import pandas as pd

TABLE_FORMATS = (*FORMATS, "json")


def table_form_of(path: Path) -> str:
    """Return the format of a file of tables by its suffix. Raises StoreError for an unknown suffix."""
    return "json" if path.suffix.lower() == ".json" else form_of(path)


def exported_tables(
    title: str, content: Sequence[Table], frame: pd.DataFrame, values: Sequence[Mapping[str, Any]], form: str
) -> bytes:
    """Return tables in one of TABLE_FORMATS, as the bytes of a file.

    Args:
        title: heading of the HTML page.
        content: the tables as text, for Markdown, LaTeX and HTML.
        frame: the same as numbers, for CSV and Parquet.
        values: the same as JSON content.

    Raises:
        StoreError: an unknown format, or nothing to export.
    """
    if form not in TABLE_FORMATS:
        raise StoreError(f"Unknown export format {form!r}; use one of {', '.join(TABLE_FORMATS)}.")
    if not content or not len(frame.columns):
        raise StoreError("There is nothing to export: no cell matches.")
    if form == "parquet":
        return parquet_bytes(frame)
    if form == "json":
        text = json.dumps(_finite(list(values)), indent=2, ensure_ascii=True, allow_nan=False, default=str)
    elif form == "csv":
        text = csv_text(frame)
    elif form == "html":
        text = document(title, [tables.html_table(table) for table in content])
    else:
        text = "\n".join((tables.markdown if form == "markdown" else tables.latex)(table) for table in content)
    # A surrogate of a damaged name is escaped in JSON, and replaced elsewhere.
    return text.encode(errors="replace")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
