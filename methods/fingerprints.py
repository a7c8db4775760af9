"""Text that ``Method.fingerprint()`` may return."""

from __future__ import annotations

from typing import Any

#: Most characters of a fingerprint: a hash has some dozens.
LONGEST = 1000


def fingerprint_problem(value: Any) -> str:
    """Return what is wrong with a fingerprint, to complete "fingerprint() returns ..."; empty if nothing is."""
    if value is None:
        return ""
    # Not a subclass of str either: its comparison would be code of the plugin.
    if type(value) is not str:
        return f"a {type(value).__name__}; it must return text, or None if fit reads no files."
    if len(value) > LONGEST:
        return f"{len(value)} characters; it must return at most {LONGEST}: a hash of what fit reads."
    if not value.isprintable():
        return "characters that cannot be printed; it must return a hash of what fit reads as text (hexdigest())."
    return ""
