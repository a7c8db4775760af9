"""Output of the check of a results repository, for the verbs that run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.commands.output import out

if TYPE_CHECKING:
    from results.submissions.files import FolderProblem
    from results.submissions.strict import StrictVerdict

#: Largest number of problems that are printed one by one; ``--json`` has all.
MOST = 200
_NAMES = {
    "files": "files",
    "cell": "cells",
    "group": "scores of groups",
    "images": "image sets",
    "tournament": "tournaments",
}


def print_verdict(verdict: StrictVerdict) -> None:
    """Print what was read and checked, then the problems and what reviewers should know."""
    read = ", ".join(f"{n} {_NAMES[kind]}" for kind, n in verdict.counts.items() if n or kind == "cell")
    out(f"{'FAIL' if verdict.problems else 'ok  '}  {verdict.folder}: {read}; {verdict.n_checked} values checked")
    _print(verdict.problems, "problem")
    _print(verdict.warnings, "review")
    if verdict.problems:
        n = len(verdict.problems)
        out(f"{n} problem{'s' if n > 1 else ''}: see docs/leaderboard.md on what each of them means.")


def _print(items: Sequence[FolderProblem], word: str) -> None:
    for item in items[:MOST]:
        out(f"{word:<7}  {item}")
    if len(items) > MOST:
        out(f"{word:<7}  and {len(items) - MOST} more; --json prints all")
