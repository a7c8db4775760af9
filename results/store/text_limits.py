"""Bounds on texts that are read from a store, so that no page or table depends on how long a text of the file is.

A text of up to `MAX_TEXT` is cut when it has been read. Longer ones are cut by DuckDB: a file can have a text of five
megabytes in every column of every row, which would not fit into memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

#: Largest number of characters of a name: of a label, a method, a layer, a file, ...
MAX_NAME = 400
#: Largest number of characters of any other text, such as a traceback or a reply.
MAX_TEXT = 200_000
#: Largest number of bytes of a JSON text.
MAX_JSON = 4_000_000

#: End of a text that was cut.
CUT = re.compile(r"\.\.\. \(\d+ characters, [0-9a-f]{8}\)\Z")

#: Columns of the schema that hold a name.
NAME_COLUMNS = frozenset(
    {
        *("run_id", "suite", "status", "code_revision", "device", "dtype", "cell_id", "backbone", "backbone_title"),
        *("site", "dataset", "probing_fingerprint", "evaluation_fingerprint", "method", "label", "config_id"),
        *("artifact", "error_type", "fit_id", "metric", "params_hash", "uncertainty_kind", "unit", "direction"),
        *("panel", "name", "class_name", "tournament", "prompt_version", "judge", "group_id", "series", "pair_id"),
        *("grid_a", "grid_b", "cell_a", "cell_b", "answer", "finish_reason", "concept"),
        *("labelling", "scorer", "steering", "kind"),
    }
)


def cut(column: str, text: str) -> str:
    """Return a text of a column, shortened if it is longer than its bound; different texts stay different."""
    limit = MAX_NAME if column in NAME_COLUMNS else MAX_TEXT
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{text[: limit // 2]}... ({len(text)} characters, {digest})"


def longest_text(table: str, columns: Mapping[str, str]) -> str:
    """Return the SQL query for the number of bytes of the longest text of a table."""
    lengths = [f'strlen("{name}")' for name, kind in columns.items() if kind in ("VARCHAR", "JSON")]
    return f"SELECT max(greatest({', '.join(lengths)})) FROM {table}" if lengths else "SELECT 0"


def cut_sql(column: str, kind: str) -> str:
    """Return the SQL expression of a column with its texts cut as `cut` does; JSON that is too long is a text."""
    if kind not in ("VARCHAR", "JSON"):
        return f'"{column}"'
    if kind == "JSON":
        limit, shortened = MAX_JSON, "'\"too long\"'::JSON"
    else:
        limit = MAX_NAME if column in NAME_COLUMNS else MAX_TEXT
        end = f"""'... (' || length("{column}") || ' characters, ' || left(sha256("{column}"), 8) || ')'"""
        shortened = f'left("{column}", {limit // 2}) || {end}'
    # The number of bytes is stored, the number of characters is counted.
    is_long = f'strlen("{column}") > {limit} AND length("{column}") > {limit}'
    return f'CASE WHEN {is_long} THEN {shortened} ELSE "{column}" END AS "{column}"'
