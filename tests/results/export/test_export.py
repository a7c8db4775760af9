"""Exports: everything escaped, values kept, the page alone; the report against the paper."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from paired_store import make_store

from results import CellRecord, ScoreRecord, StoreError, open_store
from results.comparison.leaderboard import leaderboard
from results.export import boards_frame, csv_text, exported
from results.published.report import against_published
from results.published.rows import MAIN, is_method, is_site
from results.published.text import render
from results.tables import Table, latex, latex_escaped

EVIL = "<script>alert(1)</script> & 100_% | $x$"


def test_every_form_holds_the_values_and_escapes(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.duckdb")
    writer = open_store(store.path, read_only=False)
    writer.relabel({f"elude{seed}": EVIL for seed in (1, 2, 3)})
    boards = leaderboard(store)
    page = exported(boards, "html", x="r2").decode()
    assert "<script" not in page and "&lt;script&gt;" in page and "<svg" in page
    assert "http://" not in page and "https://" not in page and "src=" not in page
    picture = page.partition("<svg")[2].partition("</svg>")[0]
    assert picture.count("<title>") == len(boards[0].rows) and 'role="img"' in picture and "$x$</text>" in picture
    assert page == exported(boards, "html", x="r2").decode()
    tex = exported(boards, "latex").decode()
    assert r"\& 100\_\% \textbar{} \$x\$" in tex
    assert "100\\_% \\|" in exported(boards, "markdown").decode()
    frame = boards_frame(boards)
    assert csv_text(frame).count("\n") == 3
    file = tmp_path / "b.parquet"
    file.write_bytes(exported(boards, "parquet"))
    row = duckdb.sql(f"SELECT max(ms_score) FROM '{file}'").fetchall()[0]
    assert row[0] == pytest.approx(frame["ms_score"].max())
    with pytest.raises(StoreError, match="No board here has the metric 'nothing'"):
        exported(boards, "csv", metrics=["nothing"])


def test_a_row_that_starts_with_a_bracket_is_no_argument_of_the_row_above() -> None:
    # LaTeX reads the end of a row and a bracket or star after it as one command, also across a line end.
    text = latex(Table("t", ["method", "n"], [['[x] | "y"', "1"], ["*z", "2 *"]]))
    assert "{[}x{]} \\textbar{} ''y'' & 1" in text and "{*}z & 2 {*}" in text
    # Two hyphens would be a dash, and a grave accent a quotation mark.
    assert latex_escaped("`--scale tiny`") == r"\textasciigrave{}-{}-scale tiny\textasciigrave{}"


def test_what_has_no_better_direction_has_no_front(tmp_path: Path) -> None:
    """Otherwise the largest expansion factor would beat all others."""
    store = open_store(tmp_path / "s.duckdb", read_only=False)
    for number, method in enumerate(("small", "large")):
        for seed in (1, 2):
            cell_id = f"{method}{seed}"
            store.record(
                CellRecord(cell_id=cell_id, status="finished", backbone="b", site="s", method=method, token_seed=seed),
                [
                    ScoreRecord(metric="ms_score", value=0.5 + number / 10, unit="fraction"),
                    ScoreRecord(metric="r2", value=0.9, unit="fraction"),
                    ScoreRecord(metric="expansion_factor", value=1.0 + number, direction="none"),
                ],
            )
    boards = leaderboard(open_store(store.path))
    page = exported(boards, "html", x="expansion_factor").decode()
    assert "No front: neither more nor less expansion_factor is better." in page and "Green" not in page
    assert "#0b6e4f" not in page and "#0b6e4f" in exported(boards, "html", x="r2").decode()


def test_what_is_too_wide_for_a_page_goes_on_below() -> None:
    header = ["method", *(f"metric number {number}" for number in range(20))]
    rows = [[f"row {index}", *(f"{number}.{index}" for number in range(20))] for index in range(3)]
    text = latex(Table("t", header, rows, notes=["n"]))
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(lines) == 4 * text.count(r"\begin{tabular}") and max(map(len, lines)) < 140
    heads = [line.removesuffix(r" \\").split(" & ") for line in lines if line.startswith("method")]
    assert [name for head in heads for name in head[1:]] == header[1:] and len(heads) > 2
    assert text.count(r"\begin{table}") == text.count(r"\caption") == 1 and r"\par n" in text


def test_what_is_too_long_for_a_page_breaks() -> None:
    rows = [[f"row {index}", str(index)] for index in range(70)]
    text = latex(Table("t", ["method", "n"], rows))
    assert r"\begin{longtable}{lr}" in text and r"\endhead" in text and r"\begin{table}" not in text
    assert all(rf"row {index} & {index} \\" in text for index in range(70))
    assert r"\begin{table}" in latex(Table("t", ["method", "n"], rows[:20]))


@pytest.mark.filterwarnings("error")
def test_a_wide_board_is_exported_without_a_warning(tmp_path: Path) -> None:
    store = open_store(tmp_path / "wide.duckdb", read_only=False)
    scores = [ScoreRecord(metric=f"m{number}", value=number / 7) for number in range(60)]
    for seed in (1, 2):
        cell = CellRecord(
            cell_id=f"c{seed}", status="finished", backbone="b", site="s", method="m", token_seed=seed, init_seed=0
        )
        store.record(cell, scores)
    frame = boards_frame(leaderboard(store))
    assert list(frame.columns[:6]) == [
        *("backbone", "site", "dataset", "evaluation_fingerprint", "probing_fingerprint"),
        "label",
    ]
    assert frame["m6"].tolist() == [6 / 7] and frame["m6_n"].tolist() == [2] and str(frame["m6_rank"].dtype) == "Int64"


def test_a_board_without_the_metric_says_how_it_is_sorted(tmp_path: Path) -> None:
    (board,) = leaderboard(make_store(tmp_path / "s.duckdb"), sort_by="r2")
    assert not any("lacks" in note for note in board.notes)


def test_published_cells_that_were_not_measured_are_absent(tmp_path: Path) -> None:
    report = against_published(make_store(tmp_path / "s.duckdb"))
    assert len(report.cells) > 300 and all(cell.measured is None and cell.difference is None for cell in report.cells)
    assert all(cell.why_absent for cell in report.cells) and report.ranks == ()
    assert "absent" in render(report) and r"\begin{table}" in render(report, "latex")


def test_published_rows_meet_their_configurations() -> None:
    assert is_site("blocks.11.mlp.fc2", MAIN) and not is_site("blocks.12.mlp.fc2", MAIN)
    assert is_method("topk_sae", {"expansion_factor": 8.0}, MAIN, "TopK SAE")
    assert not is_method("topk_sae", {"expansion_factor": 4.0}, MAIN, "TopK SAE")
    assert is_method("elude", {"top_k": 400_000, "min_cluster_size": 1000}, MAIN, "ELUDe")
    assert not is_method("elude", {"top_k": 100_000, "min_cluster_size": 1000}, MAIN, "ELUDe")
