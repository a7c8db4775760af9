"""Two concurrent runs of one suite on one store, against one run: time, fits, and cells written.

    python benchmarks/two_runs.py [--token-seeds 6] [--epochs 6]

Each run is a process of one thread on a core of its own. The suite is ten sparse autoencoders and controls per token
seed on a small random network and random images, so nothing is downloaded. Prints the seconds from the start of the
runs to the end of the last, the ratio of the times (two runs / one run), that of the CPU times (the longer run / one
run), the numbers of fits and of cells written (both equal to the number of cells if no cell is computed twice), and the
number of token collections.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _report import report

ROOT = Path(__file__).parents[1]


def suite(images: Path, token_seeds: int, epochs: int) -> dict[str, Any]:
    """Return the suite as read from a file."""
    sae = {"expansion_factor": 8, "k": 8, "epochs": epochs, "batch_size": 256}
    methods = [{"name": "topk_sae", "config": {**sae, "k": k}} for k in (4, 6, 8, 10, 12, 14)]
    methods += [{"name": "batchtopk_sae", "config": {**sae, "k": k}} for k in (4, 8, 12)]
    return {
        "name": "two_runs",
        "data": {"dataset": f"folder:{images}", "evaluation": 18},
        "seeds": {"tokens": list(range(1, token_seeds + 1))},
        "probing": {"crops": 8, "tokens_per_image": 16},
        "evaluation": {"top_images": 6, "batch_size": 6, "metrics": ["l0", "r2", "ms_score"]},
        "targets": [{"backbone": "tiny_vit"}],
        "methods": [*methods, {"name": "identity"}],
    }


def draw(folder: Path) -> None:
    """Draw 48 random images of three classes."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(48):
        (folder / str(number % 3)).mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / str(number % 3) / f"{number}.png")


def one_process(store: Path, suite_file: Path) -> None:
    """Run the suite once the file ``go`` is there, so that two processes start at once; print what this one did."""
    import tiny_backbones  # noqa: F401 - registers them

    from harness.activations import collect
    from harness.cells import fit
    from harness.cells.plan import cells_of, prepare
    from harness.progress import Silent
    from harness.run import run
    from harness.suites import parse_suite
    from results.store.cell_rows import CellRows

    counts = {"fits": 0, "written": 0, "collections": 0}

    def count(target: Any, name: str, quantity: str) -> None:
        original = getattr(target, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            counts[quantity] += 1
            return original(*arguments, **options)

        setattr(target, name, counted)

    count(fit, "cost_of", "fits")
    count(CellRows, "write", "written")
    count(collect, "TokenWriter", "collections")
    parsed = parse_suite(json.loads(suite_file.read_text()))
    # Imports of what the cells need are no part of the time.
    importlib.import_module("overcomplete")
    cells_of(parsed, prepare(parsed, device="cpu"))
    store.with_name(f"ready-{os.getpid()}").touch()
    while not store.with_name("go").exists():
        time.sleep(0.002)
    started = time.process_time()
    summary = run(parsed, store, reporter=Silent())
    cpu = time.process_time() - started
    sys.stdout.write(json.dumps({**counts, "finished": summary.finished, "cpu": cpu}) + "\n")


def measure(folder: Path, suite_file: Path, n: int) -> tuple[float, list[dict[str, Any]]]:
    """Return the time of n concurrent runs on a new store, and what each did."""
    folder.mkdir()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, __file__, "--store", str(folder / "results.duckdb"), "--suite", str(suite_file)]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(n)]
    while len(list(folder.glob("ready-*"))) < n and all(process.poll() is None for process in processes):
        time.sleep(0.02)
    started = time.perf_counter()
    (folder / "go").touch()
    counts = [json.loads(process.communicate()[0]) for process in processes]
    return time.perf_counter() - started, counts


def main() -> None:
    """Compare two runs with one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--token-seeds", type=int, default=6, help="number of token seeds; default: 6")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of each autoencoder; default: 6")
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--suite", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.store is not None:
        return one_process(options.store, options.suite)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "images")
        suite_file = folder / "suite.json"
        suite_file.write_text(json.dumps(suite(folder / "images", options.token_seeds, options.epochs)))
        one, [alone] = measure(folder / "one", suite_file, 1)
        two, pair = measure(folder / "two", suite_file, 2)
    longest = max(each["cpu"] for each in pair)
    totals = {key: sum(each[key] for each in pair) for key in alone}
    lines = [
        f"one run:  {one:6.1f} s, {alone['finished']} cells, {alone['fits']} fits, {alone['written']} cells written, "
        f"{alone['collections']} token collections",
        f"two runs: {two:6.1f} s, {' + '.join(str(each['finished']) for each in pair)} cells, {totals['fits']} fits, "
        f"{totals['written']} cells written, {totals['collections']} token collections",
        f"two runs / one run: {two / one:.2f} of the time (ideal on two idle cores: 0.50), "
        f"{longest / alone['cpu']:.2f} of the CPU time, which other programs change less",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    report("two runs / one run on one store", two / one, note="below 1: the runs share the cells")
    report("CPU time of the longer of two runs / of one", longest / alone["cpu"], note="0.5: shared evenly")
    report("fits of two runs / fits of one", totals["fits"] / alone["fits"], note="must be 1")
    return None


if __name__ == "__main__":
    main()
