"""Whole run of the demo suite's EfficientNet-Lite0 on the device, compared with the same run on the CPU."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

import harness
import results
from gpu.record import Record
from harness.suites import Suite
from results.run_log import log_file, tail

TITLE = "The demo on the device and on the CPU"
ORDER = 3
LIMIT_S = 95

#: Its weights are small enough to travel; those of the demo's vision transformer are not.
BACKBONE = "efficientnet_lite0"
#: Largest difference of a score in [0, 1] from the CPU's (docs/reproducibility.md).
EXACT, TRAINED = 0.005, 0.05
#: Both fits that the demo trains or clusters for this layer, and rows that cost little.
METHODS = ("identity", "topk_sae", "elude", "random_dictionary", "pca")
#: Rows of the table of times.
SLOWEST = 15
#: Lines at the end of a run's log that have the times of its steps, and the date at the start of a line.
LOG_LINES, STAMP = 20, re.compile(r"^[-0-9]+ [:0-9]+ ")
METRICS = ("ms_score", "ms_score_adjusted", "r2", "accuracy", "agreement", "class_purity", "unit_overlap")


def small_suite(methods: tuple[str, ...], token_seeds: tuple[int, ...]) -> Suite:
    """Return the demo at a size that takes seconds, on a network with random weights and with two metrics."""
    return harness.load_suite(
        "demo",
        backbone="timm:test_vit",
        site="blocks.5.mlp.fc2",
        weights=False,
        methods=methods,
        token_seeds=token_seeds,
        dataset="photos:36",
        evaluation=12,
        settings=["probing.crops=0", "probing.tokens_per_image=32", 'evaluation.metrics=["r2", "accuracy"]'],
    )


def run_on(record: Record, device: str, folder: Path) -> results.Store:
    """Run the suite, and record its times and the number of failed cells; return its store."""
    suite = (
        small_suite(("identity", "topk_sae"), (42,))
        if record.tiny
        else harness.load_suite("demo", backbone=BACKBONE, methods=METHODS, token_seeds=(42,))
    )
    started = time.perf_counter()
    summary = harness.run_suite(suite, store=folder / "results.duckdb", device=device)
    seconds = time.perf_counter() - started
    store = results.open_store(folder / "results.duckdb")
    record.row("runs", device=device, seconds=seconds, failed_cells=summary.failed)
    record.check(f"failed cells on {device}", summary.failed, 0)
    times(record, store, device, seconds)
    steps = tail(file, LOG_LINES) if (file := log_file(store.path, summary.run_id)) else []
    said = [STAMP.sub("", line).strip() for line in steps if "Judged by" in line or ", took " in line]
    record.note(f"Steps on {device}: {'; '.join(said)}.")
    return store


def times(record: Record, store: results.Store, device: str, total: float) -> None:
    """Write the largest times of a run: fit and evaluation of each cell, and all that is not in a cell."""
    cells, scores = (
        store.cells().fillna({"seconds": 0.0, "fit_seconds": 0.0}),
        store.scores().dropna(subset=["seconds"]),
    )
    # Metrics that are computed together have the same time.
    scores = scores.drop_duplicates(["cell_id", "seconds"])
    parts: list[tuple[str, float, str]] = []
    for cell in cells.to_dict("records"):
        slowest = scores[scores["cell_id"] == cell["cell_id"]].nlargest(2, "seconds").to_dict("records")
        metrics = ", ".join(f"{row['metric']} {row['seconds']:.2g} s" for row in slowest)
        parts.append((f"{cell['label']}: fit", cell["fit_seconds"], ""))
        parts.append((f"{cell['label']}: evaluation", cell["seconds"] - cell["fit_seconds"], metrics))
    parts.append(("start, network, tokens, head, baseline and judging", total - float(cells["seconds"].sum()), ""))
    for what, seconds, metrics in sorted(parts, key=lambda part: -part[1])[:SLOWEST]:
        record.row(f"times on {device}", what=what, seconds=seconds, slowest_metrics=metrics)


def run(record: Record) -> None:
    """Run twice and compare the scores cell by cell."""
    import methods

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        there = run_on(record, str(record.device), Path(one))
        here = run_on(record, "cpu", Path(other))
        keys = ["cell_id", "metric", "version"]
        columns = [*keys, "value"]
        pairs = there.scores()[columns].merge(here.scores()[columns], on=keys, suffixes=("_there", "_here"))
        record.check("scores without a counterpart", len(here.scores()) - len(pairs), 0)
        pairs = pairs.merge(here.cells()[["cell_id", "method"]], on="cell_id")
        for (method, metric), group in pairs[pairs["metric"].isin(METRICS)].groupby(["method", "metric"]):
            difference = float((group["value_there"] - group["value_here"]).abs().max())
            mean = {side: float(group[f"value_{side}"].mean()) for side in ("here", "there")}
            record.row(
                "scores",
                method=method,
                metric=metric,
                cpu=mean["here"],
                device=mean["there"],
                largest_difference=difference,
            )
            allowed = EXACT if methods.METHODS.get(method).spec.training_free else TRAINED
            record.check(f"{method}: {metric}", difference, allowed)
