"""Replies as they can be stored: bounded, of the right types, and of characters that every text column takes."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from judges.base import Reply
from judges.parsing import MAX_REPLY_CHARS, printable, storable_text

#: Characters kept of the reason for which a reply ended.
MAX_REASON_CHARS = 200
#: Largest number of tokens that is believed.
MAX_TOKEN_COUNT = 2**31 - 1


def storable_reply(reply: Reply, attempt: int) -> Reply:
    """Return a judge's reply to the ``attempt``-th asking of a question in the form in which it is stored.

    A text above the limit is cut, and stays invalid; a text that is no string becomes an invalid reply. Times and token
    counts that make no sense are left out.
    """
    text, reason = reply.text, reply.finish_reason
    if text is not None and not isinstance(text, str):
        text = f"(a {type(text).__name__} instead of a text)"
    elif text is not None:
        # One character more than is read keeps it invalid.
        text = storable_text(text[: MAX_REPLY_CHARS + 1])
    reason = printable(reason)[:MAX_REASON_CHARS] if isinstance(reason, str) else "unknown"
    tokens = token_count(reply.prompt_tokens), token_count(reply.completion_tokens)
    at = reply.replied_at if isinstance(reply.replied_at, datetime) and reply.replied_at.tzinfo is not None else None
    return Reply(reply.key, attempt, text, reason, _seconds(reply.seconds), *tokens, at)


def token_count(value: Any) -> int | None:
    """Return a number of tokens, or None for anything else than an integer from 0 to ``MAX_TOKEN_COUNT``."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return int(value) if 0 <= value <= MAX_TOKEN_COUNT else None


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
