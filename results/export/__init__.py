"""Export of boards and raw results: CSV, Parquet, Markdown, LaTeX, HTML."""

from results.export.write import (
    RAW,
    boards_frame,
    csv_text,
    exported,
    form_of,
    parquet_bytes,
    raw_frame,
    write_bytes,
    write_text,
)

__all__ = [
    "RAW",
    "boards_frame",
    "csv_text",
    "exported",
    "form_of",
    "parquet_bytes",
    "raw_frame",
    "write_bytes",
    "write_text",
]
