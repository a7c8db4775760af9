"""Building of a site: reads the stores, renders every page, and writes the folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from results.app import queries, queries_runs
from results.app.queries import Record
from results.app.run_command import typed_command
from results.app.run_words import outcome
from results.boards.board import Board, board_json
from results.comparison.leaderboard import leaderboard
from results.errors import StoreError
from results.export.write import boards_frame, csv_text
from results.site import queries as site_queries
from results.site.layers import Layer, MethodPage, cells_of_rows, layer, method_page
from results.site.licences import Images
from results.site.names import cell_name, row_name
from results.site.rendering import render
from results.site.sources import Sources, opened
from results.site.texts import bounded, day, setting
from results.site.units import Gallery, gallery
from results.site.writing import PLAIN_FILES, Staged, require_folder, staged
from results.store.merge import Rescore

TITLE = "Disentanglement leaderboard"
#: Units per row, and how many of a control, whose units only show what chance looks like.
UNITS, _UNITS_OF_CONTROL = 12, 4
MOST_UNITS = 60
_MOST_LAYERS, _MOST_ROWS, _MOST_RUNS, _MOST_FAILURES = 60, 200, 200, 100

Progress = Callable[[int, int, str], None]


class SiteSummary(NamedTuple):
    """Summary of a site that was written."""

    path: Path
    files: int
    size: int
    """bytes"""
    layers: int
    rows: int
    units: int
    notes: tuple[str, ...]
    """sentences on what was left out"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteOptions:
    """Choices of who publishes a site.

    Attributes:
        title: of the site.
        units: number of units per row, at most :data:`MOST_UNITS`.
        images: folder of the images of other data sets than the shipped photographs.
        licence: of these images; without it they are not shown.
        prefer: store that wins if several have different scores of a cell, see `results.store.merge.merge`.
        force: write into a folder with other content.
    """

    title: str = TITLE
    units: int = UNITS
    images: Path | None = None
    licence: str = ""
    prefer: str | None = None
    force: bool = False


def write_site(
    stores: Sequence[Path],
    out: Path,
    options: SiteOptions | None = None,
    *,
    progress: Progress | None = None,
    rescore: Rescore | None = None,
) -> SiteSummary:
    """Write a static site of one or several results stores: plain files that need no server.

    Args:
        stores: results stores; several make one leaderboard.
        out: folder of the site: missing, empty, or a site of this function, which is replaced.
        options: see :class:`SiteOptions`.
        progress: receives (steps done, all steps, the current one in words).
        rescore: computes win rates again, as for :func:`results.store.merge.merge`; several stores with votes of people
            need it.

    Raises:
        StoreError: a store cannot be read, two contradict each other, or the folder cannot be written.
    """
    chosen = options or SiteOptions()
    if chosen.images is not None and not chosen.licence.strip():
        raise StoreError(
            "Images of a folder are published only under a stated licence; say --license, for example "
            "--license 'CC BY 4.0, Jane Doe'."
        )
    if not 0 <= chosen.units <= MOST_UNITS:
        raise StoreError(f"A site shows 0 to {MOST_UNITS} units per row, not {chosen.units}.")
    target = Path(out).expanduser()
    require_folder(target, force=chosen.force)
    with opened(stores, prefer=chosen.prefer, rescore=rescore) as sources, staged(target) as stage:
        site = _Site(sources, stage, chosen, progress or (lambda done, total, what: None))
        site.build()
    return SiteSummary(
        path=target,
        files=len(stage.files),
        size=sum(stage.files.values()),
        layers=len(site.layers),
        rows=site.n_rows,
        units=site.n_units,
        notes=tuple(site.notes),
    )


class _Site:
    """Site while it is built."""

    def __init__(self, sources: Sources, stage: Staged, options: SiteOptions, progress: Progress) -> None:
        self.sources, self.stage, self.options, self._progress = sources, stage, options, progress
        self.images = Images(options.images, options.licence.strip())
        self.layers: list[Layer] = []
        self.methods: list[tuple[MethodPage, Gallery | None]] = []
        self.notes: list[str] = []
        self.n_rows = self.n_units = 0
        self._common: dict[str, Any] = {"site_title": bounded(options.title, 120) or TITLE}

    def build(self) -> None:
        store = self.sources.store
        boards = leaderboard(store)
        if not boards:
            raise StoreError("There is nothing to show: the store has no cells. `harness run --suite demo` makes some.")
        kept = boards[:_MOST_LAYERS]
        if len(kept) < len(boards):
            self.notes.append(f"{len(boards) - len(kept)} layers are left out: a site has at most {_MOST_LAYERS}.")
        rows = [(board, row) for board in kept for row in board.rows[:_MOST_ROWS]]
        self.n_rows, done, total = len(rows), 0, len(kept) + len(rows)
        for board in kept:
            self._progress(done, total, bounded(board.layer_title, 80))
            cells_of = cells_of_rows(store, board)
            self.layers.append(layer(self.sources, board, cells_of))
            done += 1
            reference = [
                cell["cell_id"]
                for row in board.rows
                if row.method == "identity"
                for cell in cells_of[row_name(board, row)]
                if cell["status"] == "finished"
            ]
            for row in board.rows[:_MOST_ROWS]:
                self._progress(done, total, bounded(row.title, 80))
                cells = cells_of[row_name(board, row)]
                page = method_page(self.sources, board, row, cells, reference)
                self.methods.append((page, self._gallery(page, cells)))
                done += 1
        self._pages(kept)
        self._progress(total, total, "done")

    def _gallery(self, page: MethodPage, cells: Sequence[Record]) -> Gallery | None:
        n_best = self.options.units if page.row.group != "control" else min(self.options.units, _UNITS_OF_CONTROL)
        chosen = site_queries.shown_cell(self.sources.store, page.finished) if n_best else None
        cell = next((cell for cell in cells if cell["cell_id"] == chosen), None)
        made = gallery(self.sources.store, cell, self.images, n_best) if cell is not None else None
        if made is None:
            return None
        # Rows of different boards can share a cell only in a damaged store.
        path = f"units/{cell_name(made.cell)}.html"
        if path in self.stage.files:
            return None
        self.stage.add_all(made.files)
        self.n_units += sum(len(cards) for *_, cards in made.sections)
        self._page(path, "units.html", page=page, gallery=made, here="units")
        return made

    def _page(self, path: str, template: str, **content: Any) -> None:
        root = "../" * path.count("/")
        self.stage.add(path, render(template, root=root, **self._common, **content))

    def _pages(self, boards: Sequence[Board]) -> None:
        several = len(self.sources.names) > 1
        provenance = _provenance(self.sources)
        galleries = {page.name: made for page, made in self.methods if made is not None}
        shared: Mapping[str, Any] = {"layers": self.layers, "several": several, "galleries": galleries}
        self._page("index.html", "index.html", here="index", provenance=provenance, methods=self.methods, **shared)
        self._page("board.html", "board.html", here="board", **shared)
        self._page("methods/index.html", "methods.html", here="methods", methods=self.methods, **shared)
        self._page("units/index.html", "galleries.html", here="units", methods=self.methods, **shared)
        for page, made in self.methods:
            self._page(
                f"methods/{page.name}.html", "method.html", here="methods", page=page, gallery=made, several=several
            )
        self._page("runs.html", "runs.html", here="runs", provenance=provenance, several=several)
        self._page("images.html", "images.html", here="images", images=self.images, may_hide=self._hidden(boards))
        self._page("404.html", "404.html")
        for name, content in self.images.licence_texts():
            self.stage.add(f"licences/{name}", content)
        for name in ("site.css", "site.js", "icon.svg"):
            self.stage.add(name, Path(__file__).with_name("assets").joinpath(name).read_bytes())
        self.stage.add("data/leaderboard.csv", csv_text(boards_frame(boards)).encode())
        text = json.dumps([board_json(board) for board in boards], indent=1, sort_keys=True, default=str)
        self.stage.add("data/leaderboard.json", text.encode())
        self.stage.add(PLAIN_FILES, b"")

    def _hidden(self, boards: Sequence[Board]) -> list[str]:
        """Return the data sets whose images are not shown, and note them."""
        missing = {board.dataset for board in boards if not self.images.may_show(board.dataset)}
        hidden = sorted(name or "not recorded" for name in missing)
        if hidden:
            names = ", ".join(bounded(name, 40) for name in hidden[:10])
            self.notes.append(
                f"Images of {names} are not shown; if you may publish them, say --images FOLDER and --license TEXT."
            )
        return hidden


class Provenance(NamedTuple):
    """Stores, runs and failures behind a site."""

    stores: tuple[Mapping[str, str], ...]
    runs: tuple[Mapping[str, Any], ...]
    failures: tuple[Mapping[str, str], ...]
    newest: str


def _cells_of_run(run: Record) -> str:
    # Whether a run goes on is known beside its own store only, where its process may be asked.
    return outcome(run) if run["status"] != "running" else f"{run['n_finished']} finished, {run['n_failed']} failed"


def _provenance(sources: Sources) -> Provenance:
    store = sources.store
    cells = queries.records(store.query("SELECT cell_id, run_id, started_at, status FROM cells"))
    stores_of_run: dict[str, set[str]] = {}
    summaries = []
    for cell in cells:
        stores_of_run.setdefault(cell["run_id"], set()).update(sources.stores_of([cell["cell_id"]]))
    for position, name in enumerate(sources.names):
        members = [cell for cell in cells if position in sources.of_cell.get(cell["cell_id"], ())]
        days = sorted({day(cell["started_at"]) for cell in members} - {""})
        span = "not recorded" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        n_failed = sum(cell["status"] == "failed" for cell in members)
        summaries.append({"store": name, "cells": str(len(members)), "failed": str(n_failed), "dates": span})
    runs = [
        {
            "run": run["run_id"],
            "suite": run["suite"] or "",
            "command": typed_command(run["command"] or ""),
            "started": "" if run["started_at"] is None else f"{run['started_at']:%Y-%m-%d %H:%M} UTC",
            "status": "not ended" if run["status"] == "running" else run["status"],
            "cells": _cells_of_run(run),
            "code": run["code_revision"] or "not recorded",
            "device": run["device"] or "not recorded",
            "versions": setting(run["versions"] or {}),
            "store": ", ".join(sorted(stores_of_run.get(run["run_id"], ()))),
        }
        for run in queries.runs(store, _MOST_RUNS)
    ]
    failures = [
        {
            "method": cell["label"],
            "layer": f"{cell['backbone_title']} at {cell['site']}",
            "seeds": f"token seed {cell['token_seed']}, init seed {cell['init_seed']}",
            "error": f"{cell['error_type']}: {cell['error_message'] or 'no message'}",
        }
        for cell in queries_runs.failed_cells(store, _MOST_FAILURES)
    ]
    newest = max((day(cell["started_at"]) for cell in cells), default="")
    return Provenance(tuple(summaries), tuple(runs), tuple(failures), newest)
