"""Runs: running, finished and failed ones, the reasons for failures, and the command that resumes a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from results.app import data, flags, navigation, queries, tables
from results.app.queries import Record
from results.app.titles import duration, plain, visible
from results.app.widgets import Choice
from results.store import Store
from results.store.liveness import run_states
from results.store.spool import waiting_sentence

_ICONS = {
    "running": ":material/play_circle:",
    "finished": ":material/check_circle:",
    "interrupted": ":material/stop:",
    "died": ":material/cancel:",
}


def render() -> None:
    """Show the page."""
    st.title("Runs")
    refresh: bool | None = None
    with data.page() as store:
        running = any(run.state == "running" for run in run_states(store))
        refresh = running and st.toggle("Refresh every five seconds", value=False)
    # A fragment opens the store itself, at each rerun. None: the store cannot be read.
    if refresh is not None:
        st.fragment(_content, run_every=5 if refresh else None)()


def _content() -> None:
    with data.page() as store:
        states = {run.run_id: run.state for run in run_states(store)}
        runs = [{**run, "status": states[run["run_id"]]} for run in queries.runs(store)]
        if sentence := waiting_sentence(store.path):
            st.warning(plain(sentence))
        if not runs:
            st.info("No run is recorded in this store. `harness run --suite demo` starts one.")
        row_of_cell = data.rows_by_cell(store)
        for number, run in enumerate(runs):
            _run(store, run, row_of_cell, open_first=number == 0)
        flags.explain((f"{row.title} at {board.site}", row) for board, row in row_of_cell.values())
        _failures(store, row_of_cell)


def _run(store: Store, run: Record, row_of_cell: Mapping[str, Choice], *, open_first: bool) -> None:
    done, failed, planned = run["n_finished"], run["n_failed"], run["n_planned"]
    started = run["started_at"]
    when = "time not recorded" if started is None else f"{started:%Y-%m-%d %H:%M} UTC"
    heading = f"{run['suite'] or 'no suite'}, {when}, {run['status']}"
    with st.expander(f"{_ICONS.get(run['status'], '')} {plain(heading)}", expanded=open_first):
        parts = [f"{done} cells finished", f"{failed} failed"]
        if planned is not None:
            parts.append(f"{planned} planned (including those that earlier runs had finished)")
        if run["ended_at"] is not None and started is not None:
            parts.append(f"took {duration((run['ended_at'] - started).total_seconds())}")
        st.text(", ".join(parts) + ".")
        if planned and planned > 0 and run["status"] != "finished":
            st.progress(min((done + failed) / planned, 1.0), text=f"{done + failed} of {planned} cells by this run")
        if run["status"] == "running":
            last = run["last_at"] or started
            since = None if last is None else (datetime.now(UTC) - last).total_seconds()
            st.info(f"The process is running. Its last record is {duration(since)} old.")
        elif run["status"] == "died":
            st.warning("The process was killed. Run the same command again to continue from the finished cells.")
        if run["command"]:
            again = "changes nothing" if run["status"] == "finished" and not failed else "continues where it stopped"
            st.text(f"Command of this run. Running it again {again} (finished cells are not computed again):")
            st.code(visible(runnable(run["command"], store.path)), language="bash", wrap_lines=True)
            st.caption("Of other paths, only the last part is recorded; enter them in full.")
        lines = [
            f"run {run['run_id']}",
            f"device {run['device'] or 'not recorded'}",
            f"code {run['code_revision'] or 'not recorded'}",
        ]
        st.text(visible("\n".join(lines)))
        if cells := queries.recent_cells(store, run["run_id"]):
            tables.show(
                {
                    "status": [cell["status"] for cell in cells],
                    "backbone": [cell["backbone_title"] for cell in cells],
                    "site": [cell["site"] for cell in cells],
                    "method": [_name(cell, row_of_cell) for cell in cells],
                    "token seed": pd.array([cell["token_seed"] for cell in cells]),
                    "init seed": pd.array([cell["init_seed"] for cell in cells]),
                    "units": pd.array([cell["n_units"] for cell in cells]),
                    "took": [duration(cell["seconds"]) for cell in cells],
                },
                "The newest cells of this run.",
            )


def _name(cell: Record, row_of_cell: Mapping[str, Choice]) -> str:
    """Return the title of a cell's row with its flags; its label if it is on no board."""
    choice = row_of_cell.get(cell["cell_id"])
    return str(cell["label"]) if choice is None else choice.row.title_with_flags


def runnable(command: str, path: Path) -> str:
    """Return a recorded command as it can be typed, with the store's full path; other paths stay as recorded.

    Commands are stored without folders, because results travel between machines.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quotation mark
        return command
    if words[:1] == ["__main__.py"]:
        words[:1] = ["python", "-m", "harness"]
    for index, word in enumerate(words):
        if word == "--store" and words[index + 1 : index + 2] == [path.name]:
            words[index + 1] = str(path)
        elif word == f"--store={path.name}":
            words[index] = f"--store={path}"
    return shlex.join(words)


def _failures(store: Store, row_of_cell: Mapping[str, Choice]) -> None:
    cells = queries.failed_cells(store)
    st.subheader("Failed cells")
    if not cells:
        st.text("No failed cells.")
        return
    st.caption("Run the same command again to retry failed cells.")
    for cell in cells:
        seeds = f"token seed {cell['token_seed']}, init seed {cell['init_seed']}"
        title = (
            f"{_name(cell, row_of_cell)} on {cell['backbone_title']} at {cell['site']} ({seeds}): {cell['error_type']}"
        )
        with st.expander(plain(title)):
            st.text(visible(cell["error_message"] or "no message"))
            navigation.link("method", "Open the method", cell=cell["cell_id"])
            if cell["traceback"]:
                st.code(visible(cell["traceback"]), language=None)


if __name__ == "__main__":
    render()
