"""How long the app's queries and pages take on a store with a million unit rows.

    python benchmarks/app_queries.py [--units 1000000] [--cells 60] [--keep FOLDER]

Makes the store once (in a temporary folder unless --keep names one), then times each query of `results.app.queries`
and each page with streamlit's own test runner, cold (first look) and warm (again).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from results import CellRecord, RunRecord, ScoreRecord, Store, open_store
from results.app import queries
from results.boards.build import leaderboard

TOP = 100
SEEDS = (42, 123, 999)
METHODS = ("identity", "random_split", "elude", "topk_sae", "pca")


def make_store(path: Path, n_units: int, n_cells: int) -> Store:
    """Cells of five methods on enough sites to fill `n_cells`, `n_units` unit rows in all, 100 top images each."""
    store = open_store(path, read_only=False)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    store.start_run(RunRecord(run_id="run", suite="big", command="harness run --suite big", started_at=started))
    each = n_units // n_cells
    ids = []
    for number in range(n_cells):
        site, rest = divmod(number, len(METHODS) * len(SEEDS))
        method, seed = METHODS[rest % len(METHODS)], SEEDS[rest // len(METHODS)]
        ids.append(f"{method}-{site}-{seed}")
        cell = CellRecord(
            cell_id=ids[-1],
            status="finished",
            run_id="run",
            backbone="vit",
            backbone_title="A ViT",
            site=f"blocks.{site}.mlp.fc2",
            dataset="folder:none",
            evaluation_fingerprint="evaluation",
            probing_fingerprint="probing",
            method=method,
            token_seed=seed,
            init_seed=42,
            started_at=started + timedelta(seconds=number),
            identity={"evaluation": {"preprocessing": {"fit": "crop", "size": 224, "resize": 256}}},
        )
        value = 0.3 + 0.001 * number
        scores = [
            ScoreRecord(metric=metric, value=value, unit="fraction", uncertainty=0.01, uncertainty_kind="units")
            for metric in ("ms_score", "accuracy", "r2", "agreement", "alive_fraction", "unit_overlap")
        ]
        store.record(cell, scores)
    with store.writing() as opened:
        opened.execute("INSERT INTO images SELECT 'evaluation', range, range || '.jpg', 0, 'c' FROM range(50000)")
        for cell_id in ids:
            # Made by DuckDB: a million lists of a hundred would take pandas many minutes.
            parent = "NULL" if cell_id.startswith(("topk", "pca")) else "range % 768"
            opened.execute(
                f"INSERT INTO units SELECT ?, range, {parent}, true, random(), random(), 0, 100, "
                "list_transform(range(?), lambda x: (random() * 50000)::INTEGER), "
                "list_transform(range(?), lambda x: (random() * 255)::INTEGER), "
                "list_transform(range(?), lambda x: random()::FLOAT), random(), NULL, NULL FROM range(?)",
                [cell_id, TOP, TOP, TOP, each],
            )
    store.end_run("run")
    return store


def timed(name: str, call: Callable[[], Any], times: int = 3) -> None:
    """Print the first and the best later duration of a call in milliseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    print(f"  {name:<44} {taken[0]:8.0f} ms first {min(taken[1:]):8.0f} ms again")


def time_queries(store: Store) -> None:
    cell, reference, other = "elude-1-123", "identity-1-123", "random_split-1-123"
    timed("leaderboard", lambda: leaderboard(store))
    for sort in ("MS score, high first", "gain over the parent, low first", "redundancy, high first"):
        timed(f"units by {sort}", lambda sort=sort: queries.unit_page(store, cell, reference, sort=sort))  # type: ignore[misc]
    timed("units, last page", lambda: queries.unit_page(store, cell, reference, offset=16_000))
    timed("one unit", lambda: queries.units_by_number(store, cell, [77]))
    timed("siblings of one unit", lambda: queries.siblings(store, cell, 77, 77))
    timed("summary of a cell's units", lambda: queries.unit_summary(store, cell))
    timed("largest token position", lambda: queries.last_position(store, cell))
    timed("histogram of three cells", lambda: queries.histogram(store, [f"elude-1-{seed}" for seed in SEEDS]))
    timed("parents compared", lambda: queries.parents_compared(store, cell, other))
    timed("runs", lambda: queries.runs(store))


def time_pages(store: Store) -> None:
    import results.app

    logging.disable(logging.WARNING)
    from streamlit.testing.v1 import AppTest

    os.environ["HARNESS_STORE"] = str(store.path)
    sys.argv = ["streamlit"]
    main = Path(results.app.__file__).with_name("main.py")
    test = AppTest.from_file(str(main), default_timeout=120)
    timed("page front", test.run)
    for page, parameters in (
        ("board", {}),
        ("method", {"cell": "elude-1-123"}),
        ("units", {"cell": "elude-1-123"}),
        ("units", {"cell": "elude-1-123", "unit": "77"}),
        ("versus", {"a": "elude-1-123", "b": "random_split-1-123"}),
        ("judged", {}),
        ("history", {}),
    ):
        test.switch_page(f"screens/{page}.py")
        for name, value in parameters.items():
            test.query_params[name] = value
        timed(f"page {page} {' '.join(parameters)}", test.run)
        problems = [element.message for element in test.exception] + [element.value for element in test.error]
        if problems:
            print(f"    {problems}")
        for name in parameters:
            del test.query_params[name]


@contextlib.contextmanager
def folder_for(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    with folder_for(chosen.keep) as folder:
        path = folder / "results.duckdb"
        start = time.perf_counter()
        store = open_store(path) if path.exists() else make_store(path, chosen.units, chosen.cells)
        size = path.stat().st_size / 1e6
        count = int(store.query("SELECT count(*) AS n FROM units")["n"][0])
        print(f"{count} unit rows in {chosen.cells} cells, {size:.0f} MB, {time.perf_counter() - start:.0f} s to make")
        print(f"DuckDB {duckdb.__version__}, {os.cpu_count()} cores")
        time_queries(store)
        time_pages(store)


if __name__ == "__main__":
    main()
