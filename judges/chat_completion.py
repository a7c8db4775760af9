"""Strict reading of a chat completion, the reply format of OpenAI-compatible servers."""

from __future__ import annotations

import json
from typing import Any

from judges.calls import Answered
from judges.parsing import MAX_REPLY_CHARS
from judges.redaction import Redactor
from judges.storable import token_count

#: Characters kept of a reply that is no chat completion.
KEPT_CHARS = 2000


def read_completion(status: int, body: bytes, redact: Redactor) -> Answered:
    """Return the message of a chat completion.

    A reply in another format is kept in part, with its HTTP status before it: it will be no verdict, even if the body
    happens to be one. Never raises.

    Args:
        redact: replaces the API key in a text. It is applied to decoded texts, where the key can no longer hide behind
            JSON's escapes.
    """
    try:
        # JSON is UTF-8 (RFC 8259), whatever the header says; a codec chosen by the server could be any of Python's.
        content = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return unusable(status, "not UTF-8", body, redact)
    if not 200 <= status < 300:
        return unusable(status, f"http {status}{_remark(status)}", body, redact)
    try:
        document = json.loads(content, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return unusable(status, "not JSON", body, redact)
    match document:
        case {"choices": [{"message": {"content": str() | None as message}} as choice, *_]}:
            reason = choice.get("finish_reason")
            text = redact.start(message or "", MAX_REPLY_CHARS + 1)
            if len(message or "") > MAX_REPLY_CHARS:
                text = text.ljust(MAX_REPLY_CHARS + 1)  # as invalid as it was before the replacement
            reason = redact.start(reason, KEPT_CHARS) if isinstance(reason, str) else "unknown"
            usage = document.get("usage")
            counts = usage if isinstance(usage, dict) else {}
            return Answered(text, reason, *(token_count(counts.get(f"{name}_tokens")) for name in _COUNTED))
    return unusable(status, "not a chat completion", body, redact)


_COUNTED = ("prompt", "completion")


def unusable(status: int, reason: str, body: bytes, redact: Redactor) -> Answered:
    """Return the invalid reply for a body that is no chat completion, with its beginning."""
    start = redact.start(body.decode("utf-8", "replace"), KEPT_CHARS)
    return Answered(f"HTTP {status}: {start}", reason)


def _remark(status: int) -> str:
    return " (redirects are not followed)" if 300 <= status < 400 else ""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's entries.

    Raises:
        ValueError: a key occurs twice, so that readers differ in what the object says.
    """
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a key occurs twice")
    return entries
