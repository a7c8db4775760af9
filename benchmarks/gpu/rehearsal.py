"""Rehearsal of the paper's suite: measured and predicted times of its work, and the sections in which the GPU waits."""

from __future__ import annotations

import tempfile
from pathlib import Path

import harness
from gpu.record import Record
from harness.executors import create
from harness.progress import Silent
from harness.rehearsal import rehearse
from harness.rehearsal.report import TITLES

TITLE = "Rehearsal of the paper's suite: harness run --suite paper --scale rehearsal"
ORDER = 90
LIMIT_S = 480
#: It takes longer than all other sections together.
ON_REQUEST = True
#: Minutes, and those of a trial on a CPU.
BUDGET, TINY_BUDGET = 6.5, 0.2


def run(record: Record) -> None:
    """Rehearse the suite, or with ``tiny`` one layer of EfficientNet-Lite0, and record the tables of the report."""
    suite = harness.load_suite("paper")
    if record.tiny:
        settings = ['evaluation.metrics=["r2", "l0"]', "probing.crops=0", "probing.tokens_per_image=8"]
        methods, backbone = ("identity", "topk_sae"), "efficientnet_lite0"
        suite = harness.load_suite("demo", backbone=backbone, methods=methods, token_seeds=(42,), settings=settings)
    with tempfile.TemporaryDirectory() as folder, create("local") as executor:
        result = rehearse(
            suite,
            Path(folder) / "results.duckdb",
            executor=executor,
            reporter=Silent(),
            device=str(record.device),
            budget_minutes=TINY_BUDGET if record.tiny else BUDGET,
        )
    report = result.report
    if report is None:
        record.check("rehearsal was interrupted", 1, 0)
        return
    record.check("failed cells", result.failed, 0)
    for row in report.check:
        record.row("check of the larger share", part=TITLES[row.stage], **row._asdict())
    for stage in (*report.plan, report.total):
        hours = {name: getattr(stage, name) / 3600 for name in ("seconds", "low", "high", "unmeasured")}
        doctor = None if stage.estimated is None else stage.estimated / 3600
        record.row("hours of the plan", part=TITLES.get(stage.stage, stage.stage), **hours, doctor=doctor)
    for idle in report.idle[:20]:
        record.row("sections in which the device waits", **idle._asdict())
    for sentence in report.not_rehearsed:
        record.note(f"Not rehearsed: {sentence}")
