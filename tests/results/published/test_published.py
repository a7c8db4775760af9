"""Published beside measured: rounding, Table 5's ways of timing, and stores that have nothing of the paper."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from results import CellRecord, RunRecord, ScoreRecord, Store, open_store
from results.published.printed import PublishedCell, published_cells
from results.published.report import against_published
from results.published.rows import MAIN
from results.published.text import render, tables
from results.store.group_scores import GroupScoreRecord, record_group_scores


def beside(published: float, spread: float, measured: float, reach: float, metric: str = "r2") -> PublishedCell:
    return PublishedCell(
        table=2,
        setting=MAIN,
        method="ELUDe",
        metric=metric,
        unit="%",
        published=published,
        published_interval=(published - spread, published + spread),
        rounding=0.05 if metric == "effective_rank" else 0.005,
        measured=measured,
        measured_interval=(measured - reach, measured + reach),
        n=3,
    )


@pytest.mark.parametrize(
    ("cell", "within"),
    [
        # What is printed as 100.00 without a spread may be 99.996.
        (beside(100.0, 0.0, 99.996, 0.0), True),
        (beside(100.0, 0.0, 99.99, 0.0), False),
        (beside(90.0, 1.0, 90.5, 0.6), True),
        (beside(90.0, 1.0, 90.5, 0.3), False),
        (beside(90.0, 0.3, 90.5, 0.6), False),
        (beside(755.0, 0.0, 755.04, 0.0, "effective_rank"), True),
        (beside(755.0, 0.0, 755.06, 0.0, "effective_rank"), False),
    ],
)
def test_within_both_allows_for_what_rounding_hides(cell: PublishedCell, within: bool) -> None:
    assert cell.within is within


def printed(table: int, method: str, metric: str, backbone: str = "DINOv2 ViT-B/14") -> PublishedCell:
    """The first such cell of a table."""
    return next(
        cell
        for cell in published_cells(table)
        if (cell.method, cell.metric, cell.setting.backbone) == (method, metric, backbone)
    )


def test_a_spread_printed_as_zero_may_be_half_of_its_last_digit() -> None:
    """99.99 +- 0.00 over three token sets: the mean's error may be 0.005 / sqrt 3, with Student's t of two degrees."""
    cell = printed(2, "JumpReLU SAE", "r2", "AugReg ViT-B/16")
    assert (cell.published, cell.rounding) == (99.99, 0.005)
    assert cell.published_interval == pytest.approx((99.99 - 4.302653 * 0.005 / 3**0.5, 99.99 + 0.0124207), abs=1e-6)
    # Table 4 prints spreads of percentages as fractions with four decimals, which is the same half digit.
    cell = printed(4, "Archetypal SAE", "max_collinearity")
    assert cell.published_interval == pytest.approx((100 - 0.0124207, 100 + 0.0124207), abs=1e-6)
    # Table 3: 38.74 [36.8, 40.6].
    cell = printed(3, "backbone only", "win_rate", "AugReg ViT-B/16")
    assert (cell.rounding, cell.published_interval) == (0.005, pytest.approx((36.75, 40.65)))


def test_a_difference_within_rounding_is_no_deviation_without_any_interval() -> None:
    """The paper prints the accuracy of one network as 84.3 (the backbone alone) and as 84.29 (ELUDe)."""
    cell = printed(2, "backbone only", "accuracy")
    assert (cell.published, cell.rounding, cell.published_interval) == (84.3, pytest.approx(0.05), None)
    assert dataclasses.replace(cell, measured=84.29).within is True
    assert dataclasses.replace(cell, measured=84.351).within is None
    elude = printed(2, "ELUDe", "accuracy")
    assert elude.rounding == 0.005
    # The last digit itself: 84.285 is printed as 84.29 or as 84.28.
    assert [dataclasses.replace(elude, measured=value).within for value in (84.285, 84.295, 84.28)] == [
        True,
        True,
        None,
    ]
    rank = printed(2, "ELUDe", "rank of win_rate")
    assert dataclasses.replace(rank, measured=rank.published).within is None, "a rank is not rounded"


def test_the_stability_of_another_definition_is_not_compared(tmp_path: Path) -> None:
    """App. B.3 matches the whole decoder, which is version 2; version 1 left silent units out."""
    for version, expected in ((1, None), (2, 80.0)):
        store = open_store(tmp_path / f"{version}.duckdb", read_only=False)
        store.start_run(RunRecord(run_id="run", suite="table4", command="", n_planned=1, device="one", versions={}))
        for init in (42, 7):
            timed(store, "topk_sae", "TopK", {"expansion_factor": 8.0}, {"r2": 1.0}, init)
        group = GroupScoreRecord(
            group_id="g",
            config_id="TopK",
            label="TopK",
            cell_ids=["TopK/42", "TopK/7"],
            metric="stability",
            version=version,
            value=0.8,
            n=1,
            details={"pairs": [0.8], "on": "token seed 42"},
        )
        record_group_scores(store, [group])
        report = against_published(open_store(store.path), tables=[4])
        [cell] = [cell for cell in report.cells if (cell.method, cell.metric) == ("TopK SAE", "stability")]
        assert cell.measured == (None if expected is None else pytest.approx(expected))
    assert cell.published == 81.42


def timed(
    store: Store, method: str, label: str, config: dict[str, object], scores: dict[str, float], init_seed: int = 42
) -> None:
    store.record(
        CellRecord(
            cell_id=f"{label}/{init_seed}",
            run_id="run",
            suite="table5",
            status="finished",
            backbone="dinov2_vitb14",
            backbone_title="DINOv2 ViT-B/14",
            site="blocks.11.mlp.fc2",
            dataset="imagenet",
            probing_fingerprint="p",
            evaluation_fingerprint="e",
            method=method,
            label=label,
            config=config,
            config_id=label,
            token_seed=42,
            init_seed=init_seed,
            identity={},
            device="one",
            dtype="float32",
            d_in=3072,
            d_out=768,
        ),
        [ScoreRecord(metric=name, value=value, n=500, direction="lower") for name, value in scores.items()],
    )


def test_table_5_is_compared_with_what_was_compiled(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    store.start_run(RunRecord(run_id="run", suite="table5", command="", n_planned=3, device="one", versions={}))
    plain = {"latency_ms": 1.0, "peak_memory": 2.0}
    compiled = {"latency_ms_compiled": 3.0, "peak_memory_compiled": 4.0}
    summed = {"latency_ms_materialised_compiled": 5.0, "peak_memory_materialised_compiled": 6.0}
    timed(store, "identity", "backbone only", {}, plain)
    timed(store, "topk_sae", "TopK", {"expansion_factor": 8.0}, plain | compiled)
    timed(store, "elude", "ELUDe", {"top_k": 400_000, "min_cluster_size": 1000}, plain | compiled | summed)
    report = against_published(open_store(tmp_path / "r.duckdb"), tables=[5])
    cells = {(cell.method, cell.metric): cell for cell in report.cells}
    assert [cells["TopK SAE", metric].measured for metric in ("latency_ms", "peak_memory")] == [3.0, 4.0]
    assert [cells["ELUDe", metric].measured for metric in ("latency_ms", "peak_memory")] == [5.0, 6.0]
    assert cells["TopK SAE", "latency_ms"].published == 426.1
    assert cells["backbone only", "latency_ms"].why_absent == "latency_ms_compiled was not measured"


def test_a_reason_is_said_once_for_all_methods_that_it_holds_for(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    store.start_run(RunRecord(run_id="run", suite="table5", command="", n_planned=1, device="one", versions={}))
    timed(store, "topk_sae", "TopK", {"expansion_factor": 8.0}, {"latency_ms_compiled": 3.0})
    table, _ = tables(against_published(open_store(tmp_path / "r.duckdb"), tables=[5]))
    setting = "DINOv2 ViT-B/14, layer 12, expansion factor 8"
    assert f"{setting}, TopK SAE: peak_memory_compiled was not measured." in table.notes
    (others,) = [note for note in table.notes if "no finished cell" in note]
    assert others.startswith(f"{setting}, backbone only, vanilla SAE, JumpReLU SAE, ") and "TopK SAE, " not in (
        others.replace("BatchTopK SAE", "")
    )


def test_in_a_terminal_only_what_was_measured_is_listed(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    store.start_run(RunRecord(run_id="run", suite="table5", command="", n_planned=1, device="one", versions={}))
    timed(store, "topk_sae", "TopK", {"expansion_factor": 8.0}, {"latency_ms_compiled": 3.0})
    call = ["compare", "--against", "published", "--store", str(tmp_path / "r.duckdb")]
    short, long = (CliRunner().invoke(app, [*call, *more]).output for more in ([], ["--absent"]))
    assert "TopK SAE" in short and "ELUDe" not in short and "\\_" not in short
    assert "1 of 20 published values were measured" in short
    assert "ELUDe" in long
    written = tmp_path / "report.md"
    assert CliRunner().invoke(app, [*call, "--output", str(written)]).exit_code == 0
    assert "| ELUDe " in written.read_text(encoding="utf-8")


def test_a_store_with_nothing_of_the_paper_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    report = against_published(store)
    assert len(report.cells) > 300 and all(cell.measured is None for cell in report.cells)
    text = render(report, absent=False)
    assert "No backbone of this store is one of the paper's" in text and "| method | metric |" not in text
    assert all(f"Table {number}: none of its" in text for number in (*range(2, 8), 9))
    assert "absent" in render(report) and "\\begin{table}" in render(report, "latex", absent=False)
