"""Progress output of calls from Python."""

from __future__ import annotations

from rich.console import Console

from harness.progress import Reporter, Silent, Terminal


def reporter_of(progress: bool) -> Reporter:
    """Return a reporter that prints to the terminal or notebook, or a silent one."""
    return Terminal(Console()) if progress else Silent()
