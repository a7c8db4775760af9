"""Runs: how far each is, which cells failed and why, and the command that continues or repeats them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from results.app import data, flags, navigation, queries, queries_runs, tables
from results.app.disk_use import DiskUse, disk_use
from results.app.queries import Record
from results.app.run_command import typed_command
from results.app.run_progress import logged_at, progress_of, step_of
from results.app.run_words import disk_sentence, outcome
from results.app.titles import plain, visible
from results.app.widgets import Choice
from results.duration_text import duration_text
from results.run_log import log_file, tail
from results.store import Store
from results.store.liveness import run_states
from results.store.records import grouped
from results.store.spool import waiting_sentence

_ICONS = {
    "running": ":material/play_circle:",
    "finished": ":material/check_circle:",
    "interrupted": ":material/stop:",
    "died": ":material/cancel:",
}
_REFRESH_S = 4
_TAIL = 12
#: Lines of the log of a run that is over.
_LONG_TAIL = 100


def render() -> None:
    """Show the page."""
    st.title("Runs")
    with data.page() as store:
        if any(run.state == "running" for run in run_states(store)):
            live = st.toggle("Live", value=True, help=f"Reads the store and the log every {_REFRESH_S} seconds.")
            # A fragment opens the store itself, at each rerun.
            st.fragment(_running, run_every=_REFRESH_S if live else None)()
        if sentence := waiting_sentence(store.path):
            st.warning(plain(sentence))
        row_of_cell = data.rows_by_cell(store)
        _failures(store, row_of_cell)
        _all_runs(store, row_of_cell)
        _disk(store.path)
        flags.explain((f"{row.title} at {board.site}", row) for board, row in row_of_cell.values())


def _running() -> None:
    """Show the runs that are running; when one has ended, show the whole page again."""
    with data.page() as store:
        running = {run.run_id for run in run_states(store) if run.state == "running"}
        before = st.session_state.get("running", running)
        st.session_state["running"] = running
        if running != before:
            st.rerun()
        for run in queries.runs(store):
            if run["run_id"] in running:
                _progress(store, run)


def _progress(store: Store, run: Record) -> None:
    """Show cell i of n, the time left, the step it is in, and the end of the log."""
    lines = _log(store.path, run["run_id"], _LONG_TAIL)
    progress = progress_of(lines)
    done, total = run["n_finished"] + run["n_failed"], run["n_planned"]
    left = ""
    if progress is not None:
        done, total = progress.n_ended, progress.n_cells
        left = f", about {progress.left} left" if progress.left else ""
    suite = run["suite"] or "a run"
    failed = f", {run['n_failed']} failed" if run["n_failed"] else ""
    with st.container(border=True):
        if not total or total < 0:
            heading = f"{suite}: {done} cells done"
        elif done >= total:
            heading = f"{suite}: all {total} cells done, comparing them"
        else:
            heading = f"{suite}: cell {done + 1} of {total}{left}"
        st.header(plain(heading), anchor=False)
        if total and total > 0:
            st.progress(min(done / total, 1.0), text=f"{done} of {total} cells done{failed}")
        now = datetime.now(UTC)
        newest = max(filter(None, [run["last_at"], *(logged_at(line) for line in lines[-1:])]), default=None)
        facts = ["Running"]
        if run["started_at"]:
            facts = [f"Running for {duration_text((now - run['started_at']).total_seconds(), is_rough=True)}"]
        if newest is not None:
            facts.append(f"last message {duration_text((now - newest).total_seconds(), is_rough=True)} ago")
        if step := step_of(lines):
            facts.append(f"at work on {step}")
        st.caption(plain(" · ".join(facts)))
        if lines:
            st.text("Log, newest line first:")
            st.code(visible_lines(lines[-_TAIL:]), language=None, height=260, wrap_lines=True)
        else:
            st.text("This run writes no log beside the store.")


def visible_lines(lines: Sequence[str]) -> str:
    """Return lines of a log, the newest first, with control characters escaped: anyone may have written them."""
    return "\n".join(map(visible, reversed(lines)))


def _log(store: Path, run_id: str, lines: int) -> list[str]:
    file = log_file(store, run_id)
    return [] if file is None else tail(file, lines)


def _failures(store: Store, row_of_cell: Mapping[str, Choice]) -> None:
    """Show failed cells with their reasons, and for each run the command that repeats them."""
    cells = queries_runs.failed_cells(store)
    if not cells:
        return
    st.header("1 failed cell" if len(cells) == 1 else f"{len(cells)} failed cells", anchor=False)
    for group in grouped(cells, lambda cell: cell["run_id"]).values():
        with st.container(border=True):
            for cell in group:
                seeds = f"token seed {cell['token_seed']}, init seed {cell['init_seed']}"
                where = f"{_name(cell, row_of_cell)} on {cell['backbone_title']} at {cell['site']} ({seeds})"
                navigation.link("method", f"**{plain(where)}**", cell=cell["cell_id"])
                st.text(visible(f"{cell['error_type'] or 'Error'}: {cell['error_message'] or 'no message'}"))
                if cell["traceback"]:
                    with st.expander("Traceback"):
                        st.code(visible(cell["traceback"]), language=None)
            if command := group[0]["command"]:
                st.caption("This command computes the failed cells again; finished ones are kept:")
                st.code(visible(typed_command(command, store.path)), language=None, wrap_lines=True)


def _all_runs(store: Store, row_of_cell: Mapping[str, Choice]) -> None:
    states = {run.run_id: run.state for run in run_states(store)}
    runs = [{**run, "status": states.get(run["run_id"], run["status"])} for run in queries.runs(store)]
    if not runs:
        st.info("No run is recorded in this store. `harness run --suite demo` starts one.")
        return
    st.header("All runs", anchor=False)
    seconds = queries_runs.computed_seconds(store)
    for number, run in enumerate(runs):
        # A run that goes on has a box of its own.
        is_open = number == 0 and run["status"] != "running"
        _run(store, run, row_of_cell, seconds.get(run["run_id"]), is_open=is_open)


def _run(
    store: Store, run: Record, row_of_cell: Mapping[str, Choice], computed: float | None, *, is_open: bool
) -> None:
    started = run["started_at"]
    when = "time not recorded" if started is None else f"{started:%Y-%m-%d %H:%M} UTC"
    heading = f"{run['suite'] or 'no suite'}, {when}: {outcome(run)}"
    with st.expander(f"{_ICONS.get(run['status'], '')} {plain(heading)}", expanded=is_open):
        if computed is not None:
            st.text(f"Computing time of its cells, one after the other: {duration_text(computed)}.")
        if run["status"] == "died":
            st.warning("The process was killed. Run the same command again to continue from the finished cells.")
        if run["command"]:
            is_complete = run["status"] == "finished" and not run["n_failed"]
            again = "changes nothing" if is_complete else "computes the cells that are missing"
            st.text(f"Command of this run. Running it again {again}; finished cells are kept:")
            st.code(visible(typed_command(run["command"], store.path)), language=None, wrap_lines=True)
            st.caption("Of other paths, only the last part is recorded; enter them in full.")
        lines = [
            f"run {run['run_id']}",
            f"device {run['device'] or 'not recorded'}",
            f"code {run['code_revision'] or 'not recorded'}",
        ]
        st.text(visible("\n".join(lines)))
        if cells := queries.recent_cells(store, run["run_id"]):
            cells = sorted(cells, key=lambda cell: cell["status"] != "failed")
            tables.show(
                {
                    "status": [cell["status"] for cell in cells],
                    "backbone": [cell["backbone_title"] for cell in cells],
                    "site": [cell["site"] for cell in cells],
                    "method": [_name(cell, row_of_cell) for cell in cells],
                    "token seed": pd.array([cell["token_seed"] for cell in cells]),
                    "init seed": pd.array([cell["init_seed"] for cell in cells]),
                    "units": pd.array([cell["n_units"] for cell in cells]),
                    "took": [duration_text(cell["seconds"]) for cell in cells],
                },
                "The newest cells of this run, failed ones first.",
            )
        # The log of a run that goes on is in its box above.
        if run["status"] != "running" and (log := _log(store.path, run["run_id"], _LONG_TAIL)):
            st.text(f"Log, newest line first (the file logs/{visible(run['run_id'])}.log beside the store):")
            st.code(visible_lines(log), language=None, height=260, wrap_lines=True)


def _name(cell: Record, row_of_cell: Mapping[str, Choice]) -> str:
    """Return the title of a cell's row with its flags; its label if it is on no board."""
    choice = row_of_cell.get(cell["cell_id"])
    return str(cell["label"]) if choice is None else choice.row.title_with_flags


def _disk(store: Path) -> None:
    """Show how much disk space the store and the folders beside it use."""
    st.caption(plain(disk_sentence(_disk_use(store))))


@st.cache_data(ttl=60, max_entries=4, show_spinner=False)
def _disk_use(store: Path) -> list[DiskUse]:
    return disk_use(store)


if __name__ == "__main__":
    render()
