"""Processes of this host, for names of temporary files: who wrote one, and whether it still runs."""

from __future__ import annotations

import os
import platform


def host() -> str:
    """Return the letters and digits of the name of this host."""
    return "".join(letter for letter in platform.node() if letter.isascii() and letter.isalnum()) or "host"


def is_alive(process: int) -> bool:
    """Return whether a process of this host runs; a process that cannot be asked counts as running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True
