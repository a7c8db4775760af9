"""Words on a run: what it is, how far it came, and the disk space of its files."""

from __future__ import annotations

from collections.abc import Sequence

from results.app.disk_use import DiskUse
from results.app.queries import Record
from results.byte_sizes import size_text
from results.duration_text import duration_text

#: Status -> how it reads before the number of cells; a finished run needs no word.
_BEFORE_COUNT = {"interrupted": "interrupted after", "died": "killed after", "running": "running,"}


def outcome(run: Record) -> str:
    """Return how far a run came: "all 47 cells finished in 9 min", "killed after 12 of 47 cells, 1 failed".

    Args:
        run: its row, with its status as it is now. `n_planned` counts cells of other runs as well.
    """
    finished, failed, planned = run["n_finished"], run["n_failed"], run["n_planned"]
    done = finished + failed
    took = run["ended_at"] - run["started_at"] if run["ended_at"] and run["started_at"] else None
    spent = "" if took is None else f" in {duration_text(took.total_seconds(), is_rough=True)}"
    failures = f", {failed} failed" if failed else ""
    if run["status"] in _BEFORE_COUNT:
        counted = _cells(done) if planned is None else f"{done} of {_cells(planned)}"
        return f"{_BEFORE_COUNT[run['status']]} {counted}{failures}{spent}"
    others = max((planned or 0) - done, 0)
    elsewhere = f"; the other {others} are of other runs" if others and done else ""
    if not done:
        return f"nothing to compute: {'its 1 cell is' if planned == 1 else 'all cells are'} of other runs"
    if failed:
        return f"{finished} of {_cells(done)} finished{spent}{failures}{elsewhere}"
    return f"{'all ' if done > 1 and not others else ''}{_cells(done)} finished{spent}{elsewhere}"


def disk_sentence(uses: Sequence[DiskUse]) -> str:
    """Return the disk space of a store and of the folders beside it as a sentence."""
    store, *folders = uses
    filled = [use for use in folders if use.n_bytes or not use.is_complete]
    if not filled:
        return f"The store takes {_size(store)} on disk."
    total = DiskUse("", sum(use.n_bytes for use in (store, *filled)), all(use.is_complete for use in filled))
    parts = [f"{_size(use)} for {use.what}" for use in (store._replace(what="the store"), *filled)]
    size = _size(total)
    return f"{size[0].upper()}{size[1:]} on disk: {', '.join(parts[:-1])} and {parts[-1]}."


def _size(use: DiskUse) -> str:
    return size_text(use.n_bytes) if use.is_complete else f"at least {size_text(use.n_bytes)}"


def _cells(number: int) -> str:
    return "1 cell" if number == 1 else f"{number} cells"
