"""Bounds on texts that are read from a store, so that no page or table depends on how long a text of the file is."""

from __future__ import annotations

import hashlib

#: Largest number of characters of a name: of a label, a method, a layer, a file, ...
MAX_NAME = 400
#: Largest number of characters of any other text, such as a traceback or a reply.
MAX_TEXT = 200_000

#: Columns of the schema that hold a name.
NAME_COLUMNS = frozenset(
    {
        *("run_id", "suite", "status", "code_revision", "device", "dtype", "cell_id", "backbone", "backbone_title"),
        *("site", "dataset", "probing_fingerprint", "evaluation_fingerprint", "method", "label", "config_id"),
        *("artifact", "error_type", "fit_id", "metric", "params_hash", "uncertainty_kind", "unit", "direction"),
        *("panel", "name", "class_name", "tournament", "prompt_version", "judge", "group_id", "series", "pair_id"),
        *("grid_a", "grid_b", "cell_a", "cell_b", "answer", "finish_reason"),
    }
)


def cut(column: str, text: str) -> str:
    """Return a text of a column, shortened if it is longer than its bound; different texts stay different."""
    limit = MAX_NAME if column in NAME_COLUMNS else MAX_TEXT
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{text[: limit // 2]}... ({len(text)} characters, {digest})"
