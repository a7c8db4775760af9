"""Path of the store when none is given."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import UserError
from methods.setting_problems import quoted

#: Default store of the results.
DEFAULT_STORE = Path("outputs/results.duckdb")


def store_path(store: str | Path | None) -> Path:
    """Return the path of a store; of None that of ``HARNESS_STORE``, else the default one.

    Raises:
        UserError: if it is neither a text nor a path.
    """
    if store is not None and not isinstance(store, str | Path):
        raise UserError(f"store = {quoted(store)}: give the path of a DuckDB file.")
    return Path(store or os.environ.get("HARNESS_STORE") or DEFAULT_STORE).expanduser()
