"""Export of boards and raw results (CSV, Parquet, Markdown, LaTeX, HTML), and figures (PNG, SVG, PDF)."""

from results.export.figures import FIGURES, FigureFile, figure, figure_form
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
    "FIGURES",
    "RAW",
    "FigureFile",
    "boards_frame",
    "csv_text",
    "exported",
    "figure",
    "figure_form",
    "form_of",
    "parquet_bytes",
    "raw_frame",
    "write_bytes",
    "write_text",
]
