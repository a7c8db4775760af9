"""Canonical JSON of configurations, and hashes and seeds derived from it."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no white space, so that equal configurations give equal text.

    Raises:
        ValueError: if a value is NaN or infinite, which JSON cannot represent.
        TypeError: if a value is not a plain JSON value.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Return the first ``length`` hexadecimal digits of the BLAKE2b hash of the canonical text of ``value``."""
    return hashlib.blake2b(canonical(value).encode(), digest_size=32).hexdigest()[:length]


def seed_of(*parts: int | str) -> int:
    """Return a 63-bit seed that depends only on the parts, for independent random streams without shared state."""
    hashed = hashlib.blake2b(canonical(list(parts)).encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") >> 1
