"""Concepts of units in a store: written with their scores, replaced, merged and deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from results import CellRecord, ScoreRecord, Store, open_store
from results.store.explanations import ExplanationRecord, explanations, record_explanations
from results.store.judgments import ReplyRecord, record_replies
from results.store.merge import MergeConflict, merge

PROMPTS = "explain-1+detect-1"


def made(path: Path, r2: float = 0.5, **columns: Any) -> Store:
    store = open_store(path, read_only=False)
    cell = CellRecord(cell_id="c", status="finished", backbone="vits", site="fc", method="elude", **columns)
    store.record(cell, [ScoreRecord(metric="r2", value=r2)], pd.DataFrame({"unit": [0, 1]}))
    return store


def explain(
    store: Store, value: float, judge: str = "j", concept: str | None = "dogs", *, images: int = 5, n: int = 2
) -> None:
    rows = [
        ExplanationRecord(cell_id="c", unit=unit, judge=judge, prompt_version=PROMPTS, images=images, concept=concept)
        for unit in range(n)
    ]
    params = {"judges": [judge], "prompts": PROMPTS, "images": images}
    score = ScoreRecord(metric="autointerp", value=value, n=n, panel=f"openai:{judge}", params=params)
    control = ScoreRecord(metric="autointerp_control", value=1 - value, n=n, panel=score.panel, params=params)
    both = [score, control]
    record_explanations(store, "c", [judge], PROMPTS, images, rows, both, replaces=both)


def scores(store: Store) -> dict[tuple[str, str | None], float]:
    frame = store.scores()
    frame = frame[frame["metric"] != "autointerp_control"]
    return {(row.metric, row.panel): row.value for row in frame.itertuples()}


def test_a_later_result_replaces_that_of_the_same_judge(tmp_path: Path) -> None:
    store = made(tmp_path / "r.duckdb")
    explain(store, 0.6)
    explain(store, 0.9, judge="k", concept=None)
    explain(store, 0.7, concept="cats")
    assert scores(store) == {("r2", None): 0.5, ("autointerp", "openai:j"): 0.7, ("autointerp", "openai:k"): 0.9}
    rows = explanations(store, ["c"], [1])
    assert rows[["unit", "judge", "concept"]].values.tolist() == [[1, "j", "cats"], [1, "k", None]]
    assert len(explanations(store, ["c"])) == 4 and explanations(store, ["c"], []).empty


def test_they_are_deleted_with_the_cell(tmp_path: Path) -> None:
    store = made(tmp_path / "r.duckdb")
    explain(store, 0.6)
    store.forget(["c"])
    assert explanations(store, ["c"]).empty and store.scores().empty


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_merge_takes_what_judges_added_from_any_store(tmp_path: Path, order: tuple[int, int]) -> None:
    stores = [made(tmp_path / name / "r.duckdb") for name in ("plain", "judged")]
    explain(stores[1], 0.6)
    merged = merge(tmp_path / "out.duckdb", [stores[number].path for number in order])
    out = open_store(merged.path)
    assert merged.resolved == [] and merged.duplicates == 1 and merged.rows["explanations"] == 2
    assert scores(out) == {("r2", None): 0.5, ("autointerp", "openai:j"): 0.6}


def test_a_merge_keeps_both_panels_and_still_refuses_other_measurements(tmp_path: Path) -> None:
    one, two = (made(tmp_path / name / "r.duckdb") for name in ("one", "two"))
    explain(one, 0.6)
    explain(two, 0.9, judge="k")
    out = open_store(merge(tmp_path / "out.duckdb", [one.path, two.path]).path)
    assert len(scores(out)) == 3 and len(explanations(out, ["c"])) == 4
    other = made(tmp_path / "other" / "r.duckdb", r2=0.6)
    with pytest.raises(MergeConflict, match="r2@1 is"):
        merge(tmp_path / "no.duckdb", [one.path, other.path])


def test_a_failed_cell_gets_no_score_of_another_store(tmp_path: Path) -> None:
    judged = made(tmp_path / "judged" / "r.duckdb")
    explain(judged, 0.6)
    with judged.writing() as opened:
        opened.execute("UPDATE cells SET status = 'failed'")
    failed = open_store(tmp_path / "failed" / "r.duckdb", read_only=False)
    failed.record(CellRecord(cell_id="c", status="failed", backbone="vits", site="fc", method="elude"))
    out = open_store(merge(tmp_path / "out.duckdb", [failed.path, judged.path]).path)
    assert scores(out) == {} and explanations(out, ["c"]).empty


def test_results_for_other_numbers_of_images_stand_side_by_side(tmp_path: Path) -> None:
    store = made(tmp_path / "r.duckdb")
    explain(store, 0.6, images=5)
    explain(store, 0.7, images=4, concept="cats")
    rows = explanations(store, ["c"], [0])
    assert rows[["images", "concept"]].values.tolist() == [[4, "cats"], [5, "dogs"]]
    assert len(store.scores(metric="autointerp")) == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_merge_takes_a_score_with_the_explanations_behind_it(tmp_path: Path, order: tuple[int, int]) -> None:
    """The score over more units is taken, without a conflict: the other one is a part of it."""
    stores = [made(tmp_path / name / "r.duckdb") for name in ("few", "many")]
    explain(stores[0], 0.6, concept="dogs", n=1)
    explain(stores[1], 0.9, concept="cats", n=2)
    merged = merge(tmp_path / "out.duckdb", [stores[number].path for number in order])
    out = open_store(merged.path)
    assert merged.resolved == [] and scores(out)["autointerp", "openai:j"] == 0.9
    assert out.scores(metric="autointerp_control")["value"].tolist() == [pytest.approx(0.1)]
    assert explanations(out, ["c"])["concept"].tolist() == ["cats", "cats"]


def test_other_values_over_as_many_units_are_a_conflict(tmp_path: Path) -> None:
    one, two = (made(tmp_path / name / "r.duckdb") for name in ("one", "two"))
    explain(one, 0.6, concept="dogs")
    explain(two, 0.9, concept="cats")
    reply = {"judge": "j", "prompt_version": "explain-1", "grid_a": "x", "grid_b": "", "attempt": 1, "answer": "a"}
    for store, day in ((one, 2), (two, 1)):
        record_replies(store, [ReplyRecord(**reply, raw="a", replied_at=datetime(2026, 1, day, tzinfo=UTC))])  # type: ignore[arg-type]
    with pytest.raises(MergeConflict, match=r"cell c: autointerp is 0\.6 and 0\.9"):
        merge(tmp_path / "no.duckdb", [one.path, two.path])
    for prefer, order, value, concept in (
        ("first", (one, two), 0.6, "dogs"),
        ("first", (two, one), 0.9, "cats"),
        ("newest", (two, one), 0.6, "dogs"),
        ("newest", (one, two), 0.6, "dogs"),
    ):
        paths = [store.path for store in order]
        out = open_store(merge(tmp_path / "out.duckdb", paths, prefer=prefer, overwrite=True).path)
        assert scores(out)["autointerp", "openai:j"] == value
        assert set(explanations(out, ["c"])["concept"]) == {concept}
