"""Whole run of the demo suite's EfficientNet-Lite0 on the device, compared with the same run on the CPU."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import harness
import results
from gpu.record import Record
from harness.suites import Suite

TITLE = "The demo on the device and on the CPU"
ORDER = 3
LIMIT_S = 75

#: Its weights are small enough to travel; those of the demo's vision transformer are not.
BACKBONE = "efficientnet_lite0"
#: Largest difference of a score in [0, 1] from the CPU's (docs/reproducibility.md).
EXACT, TRAINED = 0.005, 0.05
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


def run_on(device: str, folder: Path, tiny: bool) -> tuple[results.Store, float, int]:
    """Run the suite; return its store, the seconds and the number of failed cells."""
    suite = (
        small_suite(("identity", "topk_sae"), (42,))
        if tiny
        else harness.load_suite("demo", backbone=BACKBONE, token_seeds=(42,))
    )
    started = time.perf_counter()
    summary = harness.run_suite(suite, store=folder / "results.duckdb", device=device)
    return results.open_store(folder / "results.duckdb"), time.perf_counter() - started, summary.failed


def run(record: Record) -> None:
    """Run twice and compare the scores cell by cell."""
    import methods

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        there, seconds, failed = run_on(str(record.device), Path(one), record.tiny)
        record.row("runs", device=str(record.device), seconds=seconds, failed_cells=failed)
        record.check("failed cells on the device", failed, 0)
        here, seconds, failed = run_on("cpu", Path(other), record.tiny)
        record.row("runs", device="cpu", seconds=seconds, failed_cells=failed)
        record.check("failed cells on the CPU", failed, 0)
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
