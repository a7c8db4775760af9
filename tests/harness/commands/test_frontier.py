"""`harness frontier`: the table, JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import harness

from results import CellRecord, ScoreRecord, open_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frontier")
    store = open_store(folder / "r.duckdb", read_only=False)
    for method, values in (("a_sae", {1: 0.2, 100: 0.8}), ("b_sae", {1: 0.1, 10: 0.6, 100: 0.6}), ("c_sae", {5: 0.5})):
        for k, r2 in values.items():
            for seed in (1, 2):
                record = CellRecord(
                    cell_id=f"{method}{k}{seed}",
                    status="finished",
                    backbone="vit",
                    site="fc",
                    method=method,
                    config={"k": k},
                    token_seed=seed,
                )
                scores = [
                    ScoreRecord(metric="r2", value=r2 + 0.01 * seed, unit="fraction"),
                    ScoreRecord(metric="l0", value=float(k), direction="none"),
                ]
                store.record(record, scores)
    return folder


def test_the_table_has_areas_and_reasons(folder: Path) -> None:
    text = harness("frontier", "--store", "r.duckdb", cwd=folder).stdout
    line = {line.split()[0]: line.split() for line in text.splitlines() if "_sae" in line.split(" ")[0]}
    # .515, and (.35 + .6) / 2 + .015.
    assert line["a_sae"][1:7] == ["method", "2", "2", "1", "100", "51.50"]
    assert line["b_sae"][1:7] == ["method", "3", "2", "1", "100", "49.00"]
    assert line["c_sae"][6] == "-" and "note: c_sae: one setting is no curve" in text
    assert "note: limits: l0 1 to 100, the range that all methods with a curve share" in text
    assert "(k=1): 1, 21.50; (k=100): 100, 81.50" in text


def test_json_has_the_points(folder: Path) -> None:
    arguments = ("--method", "b_sae", "--limits", "1:10", "--json", "--store", "r.duckdb")
    (board,) = json.loads(harness("frontier", *arguments, cwd=folder).stdout)
    (curve,) = board["curves"]
    assert board["limits"] == [1.0, 10.0] and board["limits_given"] and curve["area"] == pytest.approx(0.365)
    assert [point["on_envelope"] for point in curve["points"]] == [True, True, False]
    assert len(curve["areas"]) == 2 and curve["low"] < curve["area"] < curve["high"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--limits", "10"), "--limits 10: use LOW:HIGH with 0 < LOW < HIGH"),
        (("--limits", "40:5"), "use LOW:HIGH"),
        (("--limits", "0:5"), "use LOW:HIGH"),
        (("--limits", "nan:5"), "use LOW:HIGH"),
        (("--limits", "1:inf"), "use LOW:HIGH"),
        (("--limits", "1:2:3"), "use LOW:HIGH"),
        (("--method", "d_sae"), "No row here is of the method 'd_sae'."),
        (("--y", "l1"), "No board here has the metric 'l1'."),
        (("--y", "l0"), "More l0 is not better"),
        (("--x", "r2"), "r2 is no cost"),
    ],
)
def test_wrong_requests_are_one_sentence(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = harness("frontier", *arguments, "--store", "r.duckdb", cwd=folder, code=2)
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_the_figure_is_written_with_the_same_areas(folder: Path) -> None:
    arguments = ("f.svg", "--figure", "frontier", "--store", "r.duckdb")
    text = harness("export", *arguments, "--no-caption", cwd=folder).stdout
    assert "mean height of the line from 1 to 100" in text and (folder / "f.svg").stat().st_size
    wrong = harness("export", *arguments, "--limits", "5", cwd=folder, code=2)
    assert "use LOW:HIGH" in wrong.stderr
