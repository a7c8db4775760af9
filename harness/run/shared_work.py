"""Cells of a run that shares its store with other runs: claimed before they are computed, in groups that need one fit.

A cell that another run has claimed is left to it. A cell whose result in the store has changed since this run began was
computed by another run, and is not computed again, with ``--rerun`` neither.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from harness.cells.plan import Cell, PreparedTarget
from harness.cells.run_cell import title_of
from harness.executors.sharing import Sharing
from harness.identity import digest
from harness.run.journal import Journal
from harness.run.outbox import Outbox
from results.errors import StoreUnavailableError
from results.store.cell_rows import CellVersion
from results.store.claims import Claims
from results.store.spool import spooled_cells, take_in

#: Seconds between two looks at what other runs have finished.
POLL_S = 0.5


class SharedWork(Sharing):
    """Cells that a run has to compute, shared with other runs on the same store.

    Args:
        claims: claims of this run.
        cells: cells that were not finished when the run began, or all with ``--rerun``.
        outbox: where results go; it knows the versions that cells had when the run began.
        journal: is told what other runs have computed.
        check: raises KeyboardInterrupt if the run was asked to stop.
    """

    def __init__(
        self, claims: Claims, cells: Sequence[Cell], outbox: Outbox, journal: Journal, check: Callable[[], None]
    ) -> None:
        self.claims = claims
        self.outbox = outbox
        self.journal = journal
        self.check = check
        self.open: dict[str, Cell] = {cell.cell_id: cell for cell in cells}
        """cells without a result of this run or another one"""
        self.elsewhere: dict[str, CellVersion] = {}
        """results of other runs"""
        self._group = {cell_id: cell.fit_group for cell_id, cell in self.open.items()}
        self._titles = {cell_id: title_of(cell) for cell_id, cell in self.open.items()}
        self._unrecorded: set[str] = set()
        self._contested: set[str] = set()
        self._granted: set[str] = set()
        self._spooled: set[str] = set()
        self._is_readable = True
        self._said: set[str] = set()

    # ---- asked by executors

    def claim(self, cell: Cell) -> bool:
        cell_id = cell.cell_id
        if cell_id not in self.open:
            return False
        group = self._group[cell_id]
        if not self.claims.take(group):
            self._contested.add(group)
            return False
        # Another run may have finished it before this one got the claim.
        self.refresh()
        if self._is_taken(cell_id):
            self._release(group)
            return False
        self._granted.add(cell_id)
        return True

    def is_claimable(self, cell: Cell) -> bool:
        cell_id = cell.cell_id
        if cell_id not in self.open or self._is_taken(cell_id):
            return False
        if self.claims.holder(self._group[cell_id]) is not None:
            self._contested.add(self._group[cell_id])
            return False
        return True

    def claim_inputs(self, prepared: PreparedTarget) -> bool:
        name = _inputs_name(prepared)
        if self.claims.take(name):
            return True
        self._say_once(f"The run {self.claims.holder(name)} computes the tokens of {prepared.backbone.title}; waiting.")
        return False

    def release_inputs(self, prepared: PreparedTarget) -> None:
        self.claims.release(_inputs_name(prepared))

    # ---- told by the recorder

    def ended(self, cell_id: str, *, is_recorded: bool) -> None:
        """Note that a cell has a result of this run; a claim is kept until the result is in the store."""
        self.open.pop(cell_id, None)
        ended = {cell_id}
        if not is_recorded:
            self._unrecorded.add(cell_id)
        if not self.outbox.n_unrecorded:
            ended |= self._unrecorded
            self._unrecorded.clear()
        for group in {self._group[each] for each in ended if each in self._group}:
            self._release(group)

    def is_of_another_run(self, cell_id: str) -> bool:
        """Return whether another run has recorded this cell since this run began."""
        self.refresh()
        return cell_id in self.elsewhere

    def group_of(self, cell_id: str) -> str | None:
        """Return the fit group of a cell of this run; None for another cell."""
        return self._group.get(cell_id)

    def holds(self, cell_id: str) -> bool:
        """Return whether this run still holds the claim of a cell, which it may have lost while it was suspended."""
        return self.claims.holds(self._group[cell_id]) if cell_id in self._group else True

    # ---- asked by the run

    def refresh(self) -> None:
        """Find out which of the open cells other runs have computed."""
        store = self.outbox.store()
        self._spooled = spooled_cells(store.path)
        try:
            if not self.outbox.waiting and self._spooled:
                for sentence in take_in(store).damaged:
                    self.journal.say(sentence)
                self._spooled = spooled_cells(store.path)
            versions = store.versions(self.open)
        except StoreUnavailableError:
            self._is_readable = False
            return
        self._is_readable = True
        for cell_id, version in versions.items():
            if version != self.outbox.seen.get(cell_id) and version.run_id != self.claims.run_id:
                self.elsewhere[cell_id] = version
                del self.open[cell_id]
                failed = ", and failed" if version.status == "failed" else ""
                self.journal.ended(cell_id, self._titles[cell_id], f"computed by the run {version.run_id}{failed}")

    def settled(self) -> None:
        """Give up the claims that were kept for results on their way to the store; all are recorded."""
        for group in {self._group[cell_id] for cell_id in self._unrecorded if cell_id in self._group}:
            self.claims.release(group)
        self._unrecorded.clear()

    def end_pass(self) -> None:
        """Forget cells that an executor was granted and gave no result for; without this a run would not end."""
        for cell_id in self._granted:
            self.open.pop(cell_id, None)
        self._granted.clear()

    def wait(self) -> list[Cell]:
        """Wait until a cell can be claimed or all have a result; return the cells that can be claimed."""
        while self.open:
            self.check()
            self.refresh()
            claimable = [cell for cell in list(self.open.values()) if self.is_claimable(cell)]
            if claimable:
                return claimable
            self._say_waiting()
            if self.outbox.n_unrecorded:
                self.outbox.flush(POLL_S)
            time.sleep(POLL_S)
        return []

    @contextlib.contextmanager
    def alone(self, names: Sequence[str], doing: str) -> Iterator[None]:
        """Claim a stage at the end of a run, waiting for another run that is in it."""
        taken = []
        try:
            # In one order for all runs, so that no two wait for each other.
            for name in sorted(set(names)):
                while not self.claims.take(name):
                    self.check()
                    self._say_once(f"The run {self.claims.holder(name)} {doing}; waiting for it.")
                    time.sleep(POLL_S)
                taken.append(name)
            yield
        finally:
            for name in taken:
                self.claims.release(name)

    def _is_taken(self, cell_id: str) -> bool:
        """Return whether another run has finished the cell, or may have while the store cannot be read."""
        if cell_id not in self.open or cell_id in self._spooled:
            return True
        return not self._is_readable and self._group[cell_id] in self._contested

    def _release(self, group: str) -> None:
        """Give up the claim of a group of which all results are in the store."""
        pending = {*self.open, *self._unrecorded}
        if not any(self._group.get(cell_id) == group for cell_id in pending):
            self.claims.release(group)

    def _say_waiting(self) -> None:
        holders = {self.claims.holder(self._group[cell_id]) for cell_id in self.open}
        runs = ", ".join(sorted(holder for holder in holders if holder is not None))
        if runs:
            cells = "1 cell is" if len(self.open) == 1 else f"{len(self.open)} cells are"
            self._say_once(f"The last {cells} being computed by the run {runs}; waiting. Ctrl-C ends this run.", runs)

    def _say_once(self, sentence: str, key: str | None = None) -> None:
        if (key or sentence) not in self._said:
            self._said.add(key or sentence)
            self.journal.say(sentence)


def judging_names(prepared: Sequence[PreparedTarget]) -> list[str]:
    """Return the names of the claims for judging cells of these targets: units of one evaluation set compete."""
    return [f"judging-{digest(target.evaluation_identity())}" for target in prepared]


def _inputs_name(prepared: PreparedTarget) -> str:
    images: Mapping[str, str] = {"probing": prepared.probing.fingerprint, "evaluation": prepared.evaluation.fingerprint}
    return f"inputs-{digest({**prepared.backbone.identity(), **images})}"
