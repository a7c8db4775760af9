"""Collect the ratios of the benchmarks in one table.

Times depend on the machine and on its other load; ratios of two times of one process much less. Each benchmark reports
its ratios with :func:`report`. They are appended to the file named by the environment variable ``HARNESS_BENCH_ROWS``,
one JSON object per line. ``make bench`` sets the variable, and prints the table at the end:

    python benchmarks/_report.py FILE
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROWS_VARIABLE = "HARNESS_BENCH_ROWS"
# Read at import: a benchmark may change sys.argv for the code it measures.
BENCHMARK = Path(sys.argv[0]).stem


def report(quantity: str, ratio: float | None, *, note: str = "") -> None:
    """Add a row to the table of ``make bench``; without ``make bench``, nothing is written.

    Args:
        quantity: what is divided by what, e.g. "hdbscan / exact, n = 1500".
        ratio: the value; None if the benchmark was skipped, and ``note`` says why.
        note: condition or expected value, e.g. "should be near 1".
    """
    rows_file = os.environ.get(ROWS_VARIABLE)
    if rows_file:
        row = {"benchmark": BENCHMARK, "quantity": quantity, "ratio": ratio, "note": note}
        with Path(rows_file).open("a") as file:
            file.write(json.dumps(row) + "\n")


def table(rows: list[dict[str, str | float | None]]) -> str:
    """Return the rows as text with aligned columns."""
    cells = [("benchmark", "ratio", "quantity", "note")]
    for row in rows:
        ratio = "skipped" if row["ratio"] is None else f"{row['ratio']:.3g}"
        cells.append((str(row["benchmark"]), ratio, str(row["quantity"]), str(row["note"])))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if title == "ratio" else text.ljust(width)
            for title, text, width in zip(cells[0], line, widths, strict=True)
        ).rstrip()
        for line in cells
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, metavar="FILE", help="file with one JSON object per line")
    options = parser.parse_args()
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    print(table([json.loads(line) for line in lines]))


if __name__ == "__main__":
    main()
