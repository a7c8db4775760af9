"""Numbers of the ELUDe paper's tables, as packaged facts (see published/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from results.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent


def published_tables() -> dict[int, Path]:
    """Return table number -> file."""
    return {int(path.name.removeprefix("table").split("_")[0]): path for path in sorted(FOLDER.glob("table*_*.csv"))}


def published_table(number: int) -> pd.DataFrame:
    """Return table `number` of the paper, percentages as printed.

    Raises:
        StoreError: there is no such table.
    """
    import pandas as pd  # imported here, so that listing the tables needs no pandas

    tables = published_tables()
    if number not in tables:
        raise StoreError(f"There is no published table {number}; use one of {', '.join(map(str, sorted(tables)))}.")
    return pd.read_csv(tables[number])
