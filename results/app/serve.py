"""``python -m results.app.serve [streamlit options]``: the app's server, with everything imported before it listens.

Streamlit imports the app when the first page is asked for, and the reader would wait for pandas, DuckDB and plotly.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_USED = (
    "duckdb",
    "pandas",
    "plotly.graph_objects",
    "pyarrow",
    "results.app.figures.front",
    "results.leaderboard",
    "results.paired",
    "results.store",
)


def main() -> None:
    """Run the server until it is ended."""
    from streamlit.web import cli

    for name in _USED:
        importlib.import_module(name)
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("main.py")), *sys.argv[1:]]
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()
