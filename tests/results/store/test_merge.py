"""Merging stores of several machines: which of two cells stays, and what comes along."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from harness.cli import app
from results import CellRecord, RunRecord, ScoreRecord, StoreError, open_store
from results.store.group_scores import GroupScoreRecord, group_scores, record_group_scores
from results.store.judgments import (
    WIN_RATE_COLUMNS,
    ReplyRecord,
    TournamentRecord,
    record_replies,
    record_tournament,
    win_rates,
)
from results.store.liveness import run_states
from results.store.merge import MergeConflict, merge

pytestmark = pytest.mark.run

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def machine(
    folder: Path,
    cells: dict[str, float | None],
    *,
    hours: float = 0,
    artifact: str | None = None,
    seconds: float = 1.0,
) -> Path:
    """A store in a folder of its own: cell id to R2 (None: it failed), each with two units, a curve and a file."""
    path = folder / "results.duckdb"
    store = open_store(path, read_only=False)
    started = NOON + timedelta(hours=hours)
    store.start_run(RunRecord(run_id=folder.name, suite="demo", started_at=started))
    (folder / "artifacts").mkdir()
    for cell_id, r2 in cells.items():
        name = artifact or f"artifacts/{cell_id}.safetensors"
        if r2 is not None and not name.startswith(".."):
            (folder / name).write_text(f"{cell_id} of {folder.name}")
        shared: dict[str, Any] = {"backbone": "b", "site": "s", "method": "m", "run_id": folder.name}
        record = CellRecord(
            cell_id=cell_id,
            status="failed" if r2 is None else "finished",
            started_at=started,
            seconds=seconds,
            artifact=None if r2 is None else name,
            error_message=None if r2 is not None else f"on {folder.name}",
            notes=(folder.name,),
            **shared,
        )
        scores = [] if r2 is None else [ScoreRecord(metric="r2", value=r2, seconds=seconds)]
        units = None if r2 is None else pd.DataFrame({"unit": [0, 1], "ms_score": [r2, r2]})
        curves = None if r2 is None else pd.DataFrame({"series": ["loss"], "step": [1], "value": [r2]})
        store.record(record, scores, units, curves)
    return path


def r2_of(store: Path) -> dict[str, float]:
    frame = open_store(store).scores(metric="r2")
    return dict(zip(frame.cell_id, frame.value, strict=True))


@pytest.mark.parametrize(("prefer", "expected"), [("first", 0.5), ("newest", 0.7)])
def test_a_conflict_is_decided_for_the_whole_cell(tmp_path: Path, prefer: str, expected: float) -> None:
    one = machine(tmp_path / "one", {"x": 0.5, "only-one": 0.1})
    two = machine(tmp_path / "two", {"x": 0.7, "only-two": 0.2}, hours=1)
    with pytest.raises(MergeConflict, match=r"r2@1 is 0\.5 and 0\.7"):
        merge(tmp_path / "refused" / "r.duckdb", [one, two])
    assert not (tmp_path / "refused").exists()
    out = tmp_path / "out" / "r.duckdb"
    done = merge(out, [one, two], prefer=prefer, artifacts=True)
    assert (done.cells, done.duplicates, len(done.resolved), done.artifacts) == (3, 1, 1, 3)
    assert r2_of(out) == {"x": expected, "only-one": 0.1, "only-two": 0.2}
    winner = "one" if prefer == "first" else "two"
    store = open_store(out)
    assert store.units("x").ms_score.tolist() == [expected] * 2, "units, curves, notes and fit are of the same machine"
    assert store.curves("x").value.tolist() == [expected]
    assert store.cells().set_index("cell_id").notes["x"] == [winner]
    assert (out.parent / "artifacts" / "x.safetensors").read_text() == f"x of {winner}"
    assert set(store.runs().run_id) == {"one", "two"}


def test_newest_does_not_depend_on_the_order_given(tmp_path: Path) -> None:
    stores = [
        machine(tmp_path / name, {"x": value}, hours=hours)
        for name, value, hours in (("one", 0.1, 1), ("two", 0.2, 3), ("three", 0.3, 2))
    ]
    for number, order in enumerate(([0, 1, 2], [2, 1, 0], [1, 0, 2])):
        out = tmp_path / f"out{number}.duckdb"
        merge(out, [stores[i] for i in order], prefer="newest")
        assert r2_of(out) == {"x": 0.2}


def test_rounding_and_times_are_no_conflicts(tmp_path: Path) -> None:
    one = machine(tmp_path / "one", {"x": 0.5}, seconds=1)
    two = machine(tmp_path / "two", {"x": 0.5 + 1e-8}, hours=1, seconds=9)
    done = merge(tmp_path / "out.duckdb", [one, two])
    assert (done.duplicates, done.resolved) == (1, []) and r2_of(done.path) == {"x": 0.5}


HERE = {"processor": "A", "threads": 2, "blas": [], "mkl_cbwr": "AUTO,STRICT", "torch_kernels": "AVX512"}
THERE = {**HERE, "processor": "B"}


def computed(folder: Path, r2: float, environment: dict[str, Any] | None, **claims: bool) -> Path:
    """A store with the cell x, computed in an environment."""
    store = open_store(folder / "r.duckdb", read_only=False)
    shared: dict[str, Any] = {"status": "finished", "backbone": "b", "site": "s", "method": "m", "claims": claims}
    record = CellRecord(cell_id="x", environment=environment, **shared)
    counted = ScoreRecord(metric="undefined", value=round(1000 * r2), unit="units")
    store.record(record, [ScoreRecord(metric="r2", value=r2, unit="fraction"), counted])
    return store.path


@pytest.mark.parametrize(
    ("environments", "claims", "difference", "conflict"),
    [
        ((HERE, THERE), {}, 0.03, False),
        ((HERE, THERE), {}, 0.06, True),
        ((HERE, THERE), {"training_free": True}, 0.004, False),
        ((HERE, THERE), {"training_free": True}, 0.03, True),
        ((HERE, HERE), {}, 0.001, True),
        ((HERE, None), {}, 0.001, True),
        ((None, None), {}, 0.001, True),
    ],
)
def test_another_processor_may_differ_by_a_stated_amount(
    tmp_path: Path, environments: tuple[Any, Any], claims: dict[str, bool], difference: float, conflict: bool
) -> None:
    one = computed(tmp_path / "one", 0.5, environments[0], **claims)
    two = computed(tmp_path / "two", 0.5 + difference, environments[1], **claims)
    if conflict:
        with pytest.raises(MergeConflict, match="x"):
            merge(tmp_path / "out.duckdb", [one, two])
        return
    done = merge(tmp_path / "out.duckdb", [one, two])
    assert (done.duplicates, done.rounded, done.resolved) == (1, {"processor": 1}, [])
    assert r2_of(done.path) == {"x": 0.5}


def test_a_finished_cell_wins_over_a_failed_one_and_of_failures_the_newer_stays(tmp_path: Path) -> None:
    one = machine(tmp_path / "one", {"x": 0.5, "y": None, "z": None})
    two = machine(tmp_path / "two", {"x": None, "y": 0.6, "z": None}, hours=1)
    for order in ([one, two], [two, one]):
        out = tmp_path / f"out-{order[0].parent.name}.duckdb"
        merge(out, order)
        assert open_store(out).statuses() == {"x": "finished", "y": "finished", "z": "failed"}
        assert r2_of(out) == {"x": 0.5, "y": 0.6}
        assert open_store(out).cells().set_index("cell_id").error_message["z"] == "on two"


def test_files_come_along_only_if_asked_for_and_missing_ones_are_named(tmp_path: Path) -> None:
    one = machine(tmp_path / "one", {"x": 0.5})
    two = machine(tmp_path / "two", {"y": 0.6, "z": 0.7})
    (tmp_path / "two" / "artifacts" / "z.safetensors").unlink()
    plain = merge(tmp_path / "plain" / "r.duckdb", [one, two])
    assert plain.artifacts == 0 and not (tmp_path / "plain" / "artifacts").exists()
    done = merge(tmp_path / "whole" / "r.duckdb", [one, two], artifacts=True)
    assert done.artifacts == 2 and done.missing_artifacts == [str(tmp_path / "two" / "artifacts" / "z.safetensors")]
    assert sorted(path.name for path in (tmp_path / "whole" / "artifacts").iterdir()) == [
        "x.safetensors",
        "y.safetensors",
    ]


def test_a_fit_that_cells_of_two_machines_share_is_copied_once(tmp_path: Path) -> None:
    one = machine(tmp_path / "one", {"x": 0.5}, artifact="artifacts/fit.safetensors")
    two = machine(tmp_path / "two", {"y": 0.6}, artifact="artifacts/fit.safetensors")
    done = merge(tmp_path / "out" / "r.duckdb", [one, two], artifacts=True)
    assert done.artifacts == 1 and (tmp_path / "out" / "artifacts" / "fit.safetensors").read_text() == "x of one"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    one = machine(tmp_path / "one", {"x": 0.5})
    two = machine(tmp_path / "two", {"y": 0.6})
    (tmp_path / "secret").write_text("secret")
    fit = tmp_path / "two" / "artifacts" / "y.safetensors"
    fit.unlink()
    fit.symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError, match="does not lie in artifacts/ beside it"):
        merge(tmp_path / "out" / "r.duckdb", [one, two], artifacts=True)


def test_a_file_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    one = machine(tmp_path / "one", {"x": 0.5})
    two = machine(tmp_path / "two", {"y": 0.6}, artifact="../../elsewhere.safetensors")
    with pytest.raises(StoreError, match="does not lie in artifacts/ beside it"):
        merge(tmp_path / "out" / "r.duckdb", [one, two], artifacts=True)
    assert not (tmp_path / "out" / "r.duckdb").exists() and not list((tmp_path / "out").glob(".*"))


def test_a_store_can_take_in_another(tmp_path: Path) -> None:
    one, two = machine(tmp_path / "one", {"x": 0.5}), machine(tmp_path / "two", {"y": 0.6})
    with pytest.raises(StoreError, match="exists"):
        merge(one, [one, two], artifacts=True)
    done = merge(one, [one, two], artifacts=True, overwrite=True)
    assert (done.cells, done.artifacts) == (2, 1) and r2_of(one) == {"x": 0.5, "y": 0.6}
    names = {path.name: path.read_text() for path in (tmp_path / "one" / "artifacts").iterdir()}
    assert names == {"x.safetensors": "x of one", "y.safetensors": "y of two"}


def test_newer_measurements_of_groups_of_cells_stay(tmp_path: Path) -> None:
    one, two = machine(tmp_path / "one", {"x": 0.5}), machine(tmp_path / "two", {"y": 0.6})
    for path, value, hours in ((one, 0.3, 2), (two, 0.4, 1)):
        record = GroupScoreRecord(
            group_id="g",
            config_id="c",
            label="m",
            cell_ids=["x", "w"],
            metric="stability",
            version=1,
            value=value,
            direction="higher",
            measured_at=NOON + timedelta(hours=hours),
        )
        record_group_scores(open_store(path, read_only=False), [record])
    with pytest.raises(MergeConflict, match="1 rows of group_scores"):
        merge(tmp_path / "no.duckdb", [one, two])
    for order in ([one, two], [two, one]):
        out = tmp_path / f"out-{order[0].parent.name}.duckdb"
        merge(out, order, prefer="newest")
        assert group_scores(open_store(out)).value.tolist() == [0.3]


def judged(
    folder: Path,
    *,
    answer: str | None = "A",
    image: str = "a.png",
    rate: float = 0.5,
    hours: float = 0,
    version: int = 1,
) -> Path:
    """A store with one tournament of one method, one reply and one image."""
    store = open_store(folder / "r.duckdb", read_only=False)
    when = NOON + timedelta(hours=hours)
    store.record_images("evaluation-1", pd.DataFrame({"index": [0, 1], "name": [image, "b.png"]}))
    question = {"judge": "j", "prompt_version": "1", "grid_a": "x", "grid_b": "y", "attempt": 1}
    record_replies(store, [ReplyRecord(**question, answer=answer, raw="text", replied_at=when)])  # type: ignore[arg-type]
    tournament = TournamentRecord(
        tournament="t", panel="p", judges=["j"], prompt_version="1", settings={"version": version}, judged_at=when
    )
    columns: dict[str, Any] = dict.fromkeys(WIN_RATE_COLUMNS, 0)
    columns |= {"config_id": "c", "label": "m", "cell_ids": [], "win_rate": rate}
    record_tournament(store, tournament, pd.DataFrame([columns]))
    return store.path


@pytest.mark.parametrize("answer", ["A", None])
def test_equal_replies_and_images_are_kept_once(tmp_path: Path, answer: str | None) -> None:
    one, two = (judged(tmp_path / name, answer=answer) for name in ("one", "two"))
    done = merge(tmp_path / "out.duckdb", [one, two])
    assert done.resolved == []
    counts = {table: done.rows[table] for table in ("replies", "images", "tournaments", "win_rates")}
    assert counts == {"replies": 1, "images": 2, "tournaments": 1, "win_rates": 1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"answer": "B"}, "1 rows of replies: answer differs"),
        ({"answer": None}, "1 rows of replies: answer differs"),
        ({"image": "c.png"}, "1 rows of images: name differs"),
        ({"rate": 0.6}, r"tournament t \(p\): win rates differ"),
    ],
)
def test_other_replies_images_and_win_rates_are_conflicts(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    one, two = judged(tmp_path / "one"), judged(tmp_path / "two", **change)
    with pytest.raises(MergeConflict, match=why):
        merge(tmp_path / "out.duckdb", [one, two])


@pytest.mark.parametrize(("prefer", "expected"), [("first", [0.5, 0.6]), ("newest", [0.6, 0.6])])
def test_a_conflict_of_tournaments_is_decided_as_that_of_cells(
    tmp_path: Path, prefer: str, expected: list[float]
) -> None:
    """The second store is the newer one; the stores are given in both orders."""
    one, two = judged(tmp_path / "one"), judged(tmp_path / "two", rate=0.6, hours=1)
    kept_rates = []
    for order in ([one, two], [two, one]):
        done = merge(tmp_path / "out.duckdb", order, prefer=prefer, overwrite=True)
        assert [conflict.why for conflict in done.resolved] == ["win rates differ"]
        kept_rates += win_rates(open_store(done.path)).win_rate.tolist()
    assert kept_rates == expected


def test_win_rates_of_the_newer_definition_are_no_conflict_and_are_taken(tmp_path: Path) -> None:
    """The store that was scored by the older definition was scored last."""
    one, two = judged(tmp_path / "one", hours=1), judged(tmp_path / "two", rate=0.6, version=2)
    for order in ([one, two], [two, one]):
        done = merge(tmp_path / "out.duckdb", order, overwrite=True)
        assert done.resolved == [] and win_rates(open_store(done.path)).win_rate.tolist() == [0.6]


def test_a_run_that_was_killed_is_not_running_in_the_merged_store(tmp_path: Path) -> None:
    one, two = machine(tmp_path / "one", {"x": 0.5}), machine(tmp_path / "two", {"y": 0.6})
    open_store(one, read_only=False).end_run("one")
    merge(tmp_path / "out.duckdb", [one, two])
    assert {run.run_id: run.state for run in run_states(open_store(tmp_path / "out.duckdb"))} == {
        "one": "finished",
        "two": "died",
    }


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    one = machine(tmp_path / "one", {"x": 0.5})
    two = machine(tmp_path / "two", {"x": 0.7}, hours=1)
    words = ["merge", str(tmp_path / "out.duckdb"), str(one), str(two)]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code != 0 and "--prefer" in str(refused.exception) + refused.output
    done = CliRunner().invoke(app, [*words, "--prefer", "newest", "--artifacts"])
    assert done.exit_code == 0, done.output
    assert "1 cells, 1 of them in several stores" in done.output and "decided for the newest" in done.output
    assert "1 artifacts copied" in done.output
    again = CliRunner().invoke(app, [*words, "--prefer", "newest", "--overwrite", "--json"])
    assert json.loads(again.output)["resolved"][0]["why"] == "r2@1 is 0.5 and 0.7"
    assert r2_of(tmp_path / "out.duckdb") == {"x": 0.7}
