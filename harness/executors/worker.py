"""Computation of a cell in another process or on another machine, from plain data.

The suite is sent as text, reduced to one target. This process loads the backbone and the images, plans the cells again,
finds its cell by the id, and reads tokens and baseline from the shared cache. Loaded objects are kept for the next cell
of the same target.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.activations.probing_plan import ProbingPlan
from harness.cells.divided_fit import DividedFit, PartFit, complete_files, fit_part
from harness.cells.fit import SavedFit
from harness.cells.inputs import AheadTokens, Inputs, open_inputs
from harness.cells.plan import Cell, cells_of, prepare
from harness.cells.run_cell import CellContext, CellResult, Failure, run_cell, work_dir
from harness.errors import UserError
from harness.executors.base import TargetWork, Work
from harness.executors.part_progress import reporting_part
from harness.identity import canonical
from harness.suites import Suite, Target, parse_suite
from methods import numerics
from methods.base import Progress, no_progress
from methods.interrupts import is_interrupt, raise_interrupt
from methods.plugin_files import load_plugin_file, plugin_files
from results.store.liveness import run_of

#: Seconds that a machine waits for a file that another one has just written to the shared file system.
PATIENCE_S = 10.0


class Order(NamedTuple):
    """Plain data that all tasks of one target need."""

    suite: str
    """JSON of the suite with this target alone"""
    plugins: tuple[str, ...]
    """plugin files, loaded in this order"""
    context: CellContext
    cache: Path
    mark: Path
    working_folder: str
    """folder that relative paths of the suite refer to"""

    @classmethod
    def of(cls, work: Work, target: TargetWork) -> Order:
        text = suite_text(work.suite, target.prepared.target)
        return cls(text, plugin_files(), work.context, work.cache, work.mark, str(Path.cwd()))


class Resources(NamedTuple):
    """Resources of the machine that a task may use."""

    threads: int
    gpu: bool


class Answer(NamedTuple):
    """Answer of a task that has put the inputs of a target into the cache."""

    broken: dict[str, str]
    """images that could not be read, name to reason"""
    token_bytes: int
    """of the largest token set, as float32"""


def suite_text(suite: Suite, target: Target) -> str:
    """Return a suite with one target as JSON; the cells of the target stay the same."""
    values = suite.model_copy(update={"targets": (target,)}).model_dump(mode="json")
    # Sections that plugins registered stand beside the others, as in a file.
    return canonical({**values.pop("extra"), **values, "parts": []})


def open_target(
    order: Order, resources: Resources, cell_ids: Sequence[str], ahead: Sequence[AheadTokens] = ()
) -> Answer | Failure:
    """Compute the inputs of the cells that the cache does not hold yet.

    Args:
        ahead: token sets that a pass over the probing images makes too.

    Raises:
        UserError: if this machine does not see the folder of the store.
    """
    session = _session(order, resources)
    try:
        inputs = session.inputs([session.cell(cell_id).plan for cell_id in cell_ids], ahead)
    except BaseException as error:
        if is_interrupt(error):
            raise_interrupt(error)
        return Failure.of(error)
    site = session.prepared.site
    largest = max(tokens.n for tokens in inputs.tokens.values())
    return Answer(dict(inputs.broken), 4 * largest * (sum(site.token_widths.values())))


def compute(
    order: Order,
    resources: Resources,
    cell_id: str,
    saved_fits: Sequence[SavedFit],
    divided: DividedFit | None = None,
    progress: Progress = no_progress,
) -> CellResult | Failure:
    """Compute one cell; ``divided`` are the parts of its fit that other tasks have computed.

    Raises:
        UserError: if this machine does not see the folder of the store.
    """
    opened = _open(order, resources, cell_id)
    if isinstance(opened, Failure):
        return opened
    cell, inputs, context = opened
    if divided is not None:
        _wait_for_files(work_dir(context.folder, cell_id), divided.files)
    return run_cell(cell, inputs, context, saved_fits=saved_fits, divided=divided, progress=progress)


def compute_part(order: Order, resources: Resources, cell_id: str, items: range) -> PartFit | Failure:
    """Compute some items of the fit of one cell, and leave them in its folder for resuming.

    Raises:
        UserError: if this machine does not see the folder of the store.
    """
    opened = _open(order, resources, cell_id)
    if isinstance(opened, Failure):
        return opened
    cell, inputs, context = opened
    folder = work_dir(context.folder, cell_id)
    progress = reporting_part(folder, items)
    try:
        tokens = inputs.tokens[cell.plan]
        return fit_part(cell, tokens, items, device=context.device, progress=progress, work_dir=folder)
    except BaseException as error:
        if is_interrupt(error):
            raise_interrupt(error)
        return Failure.of(error)


def _open(order: Order, resources: Resources, cell_id: str) -> tuple[Cell, Inputs, CellContext] | Failure:
    """Return a cell with its inputs, and the context with the device of this process."""
    session = _session(order, resources)
    try:
        cell = session.cell(cell_id)
        inputs = session.inputs([cell.plan])
    except BaseException as error:
        if is_interrupt(error):
            raise_interrupt(error)
        return Failure.of(error)
    return cell, inputs, order.context._replace(device=session.device)


def _wait_for_files(folder: Path, names: Sequence[str]) -> None:
    """Wait until a folder of a shared file system lists files that other machines have just written to it.

    After :data:`PATIENCE_S` the fit begins without the missing ones, and computes their items again.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if set(names) <= set(complete_files(folder)):
            return
        time.sleep(0.2)


class _Session:
    """Target as loaded by this process."""

    def __init__(self, order: Order, device: str) -> None:
        self.cache = order.cache
        self.device = device
        for file in order.plugins:
            load_plugin_file(file)
        self.suite = parse_suite(json.loads(order.suite))
        [self.prepared] = prepare(self.suite, device=device)
        self.cells = {cell.cell_id: cell for cell in cells_of(self.suite, [self.prepared])}
        self._inputs: dict[frozenset[ProbingPlan], Inputs] = {}

    def cell(self, cell_id: str) -> Cell:
        if cell_id not in self.cells:
            raise UserError(
                f"This machine plans other cells than the one that started the run: {cell_id} is not among its "
                f"{len(self.cells)}. Code, weights, images and plugin files must be the same on all machines."
            )
        return self.cells[cell_id]

    def inputs(self, plans: Sequence[ProbingPlan], ahead: Sequence[AheadTokens] = ()) -> Inputs:
        key = frozenset(plans)
        if key not in self._inputs:
            # Only one set of plans is kept: cells arrive ordered by token seed.
            self._inputs = {key: open_inputs(self.suite, self.prepared, plans, self.cache, ahead=ahead)}
        return self._inputs[key]


#: Session of this process by what it depends on; one at a time, because a backbone fills much of a GPU.
_SESSIONS: dict[tuple[Any, ...], _Session] = {}


def _session(order: Order, resources: Resources) -> _Session:
    """Return the session of an order; open it if there is none."""
    numerics.set_threads(resources.threads)
    _require_shared_folder(order)
    if Path(order.working_folder).is_dir():
        os.chdir(order.working_folder)
    device = "cuda" if resources.gpu else "cpu"
    key = (order.suite, order.plugins, order.cache, device)
    if key not in _SESSIONS:
        _SESSIONS.clear()
        _SESSIONS[key] = _Session(order, device)
    return _SESSIONS[key]


def _require_shared_folder(order: Order) -> None:
    """Raise UserError if the results would be lost because the folder of the store is not visible."""
    deadline = time.monotonic() + PATIENCE_S
    while not order.mark.is_file() or run_of(order.mark) != order.context.run_id:
        if time.monotonic() > deadline:
            raise UserError(
                f"{platform.node()} does not see the folder {str(order.context.folder)!r} of the run: put the store on "
                "a file system that all machines share, or run on each machine with a separate store and use harness "
                "merge."
            )
        time.sleep(0.2)
