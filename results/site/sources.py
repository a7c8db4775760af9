"""Stores of a site: one, or several merged into one, and from which of them each cell came."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from results.errors import StoreError
from results.site.texts import name
from results.store import Store, connection, open_store
from results.store.merge import Rescore, merge


class Sources(NamedTuple):
    """Content of all stores of a site, as it was when the site was begun."""

    store: Store
    names: tuple[str, ...]
    """names of the stores, all different, without folders of this machine"""
    of_cell: Mapping[str, tuple[int, ...]]
    """cell id -> positions of its stores in `names`"""

    def stores_of(self, cell_ids: Sequence[str]) -> list[str]:
        """Return the names of the stores that have one of these cells."""
        positions = {position for cell_id in cell_ids for position in self.of_cell.get(cell_id, ())}
        return [self.names[position] for position in sorted(positions)]


@contextlib.contextmanager
def opened(paths: Sequence[Path], *, prefer: str | None = None, rescore: Rescore | None = None) -> Iterator[Sources]:
    """Open the stores of a site, each of which is read once: a run may write to them while the pages are made.

    Args:
        paths: the stores.
        prefer: as for :func:`results.store.merge.merge`.
        rescore: likewise.

    Raises:
        StoreError: no store is given, one cannot be read, or two contradict each other.
    """
    stores = list(dict.fromkeys(Path(path).expanduser().absolute() for path in paths))
    if not stores:
        raise StoreError("A site needs a results store.")
    of_cell: dict[str, tuple[int, ...]] = {}
    for number, path in enumerate(stores):
        for cell_id in open_store(path).query("SELECT cell_id FROM cells ORDER BY cell_id")["cell_id"]:
            of_cell[cell_id] = (*of_cell.get(cell_id, ()), number)
    with tempfile.TemporaryDirectory(prefix="harness-site-") as folder:
        together = Path(folder) / "results.duckdb"
        if len(stores) == 1:
            _copy(stores[0], together)
        else:
            merge(together, stores, prefer=prefer, rescore=rescore)
        yield Sources(open_store(together), _names(stores), of_cell)


def _copy(store: Path, target: Path) -> None:
    # While it is open for reading, no other process writes to it.
    with connection.reading(store):
        for suffix in ("", ".wal"):
            file = store.with_name(store.name + suffix)
            if file.exists():
                shutil.copyfile(file, target.with_name(target.name + suffix))


def _names(stores: Sequence[Path]) -> tuple[str, ...]:
    """Return the file names without suffix; of equal ones with the folder before it, and a number if need be."""
    stems = [name(path.stem) for path in stores]
    if len(set(stems)) < len(stems):
        stems = [name(f"{path.parent.name}/{path.stem}") for path in stores]
    repeated = {stem for stem in stems if stems.count(stem) > 1}
    return tuple(f"{stem} ({number})" if stem in repeated else stem for number, stem in enumerate(stems, start=1))
