"""Canonical JSON (the same text for the same content), and hashes of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any

import numpy as np

from results.errors import StoreError


def plain(value: object) -> Any:
    """Return `value` as JSON content: mappings, lists, strings, finite numbers, booleans, None.

    NumPy scalars and arrays become numbers and lists, sets become sorted lists, paths their text. NaN and infinities,
    which JSON lacks, become the strings "NaN", "Infinity" and "-Infinity".

    Raises:
        StoreError: for anything else, naming its type.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {storable_text(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((plain(item) for item in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in value]
    if isinstance(value, PurePath):
        return storable_text(str(value))
    raise StoreError(
        f"A value of type {type(value).__name__} cannot be kept as JSON in the store; "
        "give mappings, sequences, strings, numbers, booleans or None."
    )


def canonical_json(value: object) -> str:
    """Return `value` as JSON with sorted keys and no spaces. Raises StoreError as `plain` does."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def short_hash(value: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def identity_hash(value: object, length: int = 16) -> str:
    """Return the first hex digits of the BLAKE2b of the canonical JSON of `value`: how a run names cells and sets."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=32).hexdigest()[:length]


def storable_text(text: str) -> str:
    """Return `text` with lone surrogates escaped: file names and tracebacks may hold them, and DuckDB stores UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
