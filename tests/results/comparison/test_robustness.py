"""Verdicts on robustness: gains, controls, corrections, and stores that hold anything."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_stores import SECRET, Mutation, combined, hostile_store
from robust_store import CONTROL, LEVELS, predictions, robust_scores, store_of

from results import ScoreRecord, StoreError, open_store
from results.comparison.intervals import holm
from results.comparison.robustness import answers, as_json, robustness
from results.export import figure

METRIC = "robust_labels"


def scores(accuracy: float, layer: float = 0.5, seed: int = 0, metric: str = METRIC, **more: Any) -> list[ScoreRecord]:
    return robust_scores(metric, predictions(metric, accuracy, seed), predictions(metric, layer, 1000), **more)


def test_a_method_above_its_layer_and_its_control_is_a_yes_and_one_below_is_a_no(tmp_path: Path) -> None:
    store = store_of(
        tmp_path / "s.duckdb",
        {
            "good": ({}, scores(0.95)),
            "bad": ({}, scores(0.3, seed=1)),
            "random": (CONTROL, scores(0.52, seed=2)),
            "other size": ({**CONTROL, "n_units": 200}, scores(0.99, seed=3)),
            "failed": ({"status": "failed"}, []),
        },
    )
    rows = {row.label: row for row in robustness(store)}
    assert set(rows) == {"good", "bad", "random", "other size"}
    good, bad, random = rows["good"], rows["bad"], rows["random"]
    assert (good.verdict, good.control_verdict, good.claim) == ("yes", "yes", "yes")
    assert (bad.verdict, bad.control_verdict, bad.claim) == ("no", "no", "no")
    assert (random.verdict, random.control_verdict, random.claim, random.p_holm) == ("", "", "", None)
    assert random.control is None and random.is_control
    assert good.control == "random" and good.beyond_control.value == pytest.approx(good.codes - random.codes)
    assert good.gain.value == pytest.approx(good.codes - good.layer) and good.gain.n == 60 and good.gain.n_draws == 4
    assert good.kind == "wrong labels" and good.majority == 0.2 and not good.at_chance
    assert [point["share"] for point in good.curve] == [0, 40, 80] and good.curve[0]["clean"]
    assert good.clean_codes == pytest.approx(good.curve[0]["codes"])
    assert good.beyond_clean.value == pytest.approx(good.gain.value - (good.clean_codes - good.clean_layer))
    corrected = holm([good.gain.p, bad.gain.p])
    assert [good.p_holm, bad.p_holm] == pytest.approx(corrected)
    assert {answer.label: answer.answer for answer in answers(list(rows.values()))} == {"good": "yes", "bad": "no"}


def test_a_gain_that_a_random_control_has_too_is_not_the_claim(tmp_path: Path) -> None:
    store = store_of(
        tmp_path / "s.duckdb",
        {"method": ({}, scores(0.9)), "random": (CONTROL, scores(0.9, seed=2))},
    )
    method = {row.label: row for row in robustness(store)}["method"]
    assert method.verdict == "yes" and method.control_verdict == "not decidable" and method.claim == "not decidable"


def test_differences_against_a_direct_computation(tmp_path: Path) -> None:
    codes, layer, random = (predictions(METRIC, accuracy, seed) for accuracy, seed in ((0.8, 0), (0.5, 1), (0.6, 2)))
    store = store_of(
        tmp_path / "s.duckdb",
        {
            "method": ({}, robust_scores(METRIC, codes, layer)),
            "random": (CONTROL, robust_scores(METRIC, random, layer)),
        },
    )
    row = robustness(store)[0]
    for difference, other in ((row.gain, layer), (row.beyond_control, random)):
        values = (codes[1:].astype(float) - other[1:]).mean(0)
        assert difference.value == pytest.approx(values.mean())
        error = math.sqrt(values.mean(0).var(ddof=1) / 60 + values.mean(1).var(ddof=1) / 4 + 1 / 3600)
        assert difference.is_paired and 1.96 * error < difference.high - difference.value < 2.6 * error


def test_a_probe_at_chance_has_no_verdict_and_the_backbone_itself_is_not_tested(tmp_path: Path) -> None:
    store = store_of(
        tmp_path / "s.duckdb",
        {
            "chance": ({}, scores(0.45, 0.1, majority=0.6)),
            "backbone": ({"method": "identity"}, scores(0.9, seed=3)),
            "good": ({}, scores(0.9)),
        },
    )
    rows = {row.label: row for row in robustness(store)}
    assert rows["chance"].at_chance and rows["chance"].verdict == rows["chance"].claim == "not decidable"
    assert rows["chance"].gain.p is not None and rows["chance"].gain.p < 0.05
    assert rows["backbone"].p_holm is None and rows["backbone"].is_control
    # The row at chance is a hypothesis too: the data do not choose what is corrected for.
    assert [rows[name].p_holm for name in ("chance", "good")] == pytest.approx(
        holm([rows["chance"].gain.p, rows["good"].gain.p])
    )


def test_the_correction_makes_many_rows_harder(tmp_path: Path) -> None:
    def p_of(n: int) -> float:
        cells: dict[str, Any] = {f"{number}": ({}, scores(0.5, seed=number + 5)) for number in range(n)}
        store = store_of(tmp_path / f"{n}.duckdb", {"good": ({}, scores(0.62)), **cells})
        p = robustness(store)[0].p_holm
        assert p is not None
        return p

    assert p_of(8) == pytest.approx(9 * p_of(0), rel=0.5)


def test_controls_are_of_the_same_layer_images_seed_and_settings(tmp_path: Path) -> None:
    def controls(**changes: Any) -> str | None:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.duckdb"
        params = changes.pop("params", {})
        store = store_of(path, {"a": ({}, scores(0.8)), "random": ({**CONTROL, **changes}, scores(0.5, **params))})
        (row,) = [row for row in robustness(store) if row.label == "a"]
        return row.control

    assert controls() == "random" and controls(n_units=104) == "random"
    for changes in (
        {"n_units": 106}, {"token_seed": 1}, {"site": "x"}, {"evaluation_fingerprint": "x"}, {"n_units": None},
        {"claims": {**CONTROL["claims"], "control_for": ["split"]}}, {"claims": None}, {"params": {"shares": [1]}},
        {"claims": {**CONTROL["claims"], "training_free": False}},
    ):  # fmt: skip
        assert controls(**changes) is None, changes


def test_scores_without_predictions_have_the_errors_of_both_sides(tmp_path: Path) -> None:
    def transferred(value: float) -> list[ScoreRecord]:
        return [
            ScoreRecord(metric="probe_transfer", value=value, uncertainty=0.02, n=400),
            ScoreRecord(metric="probe_transfer_layer", value=0.5, uncertainty=0.02, n=400),
            ScoreRecord(metric="probe_transfer_gain", value=value - 0.5, uncertainty=0.03, n=400),
        ]

    store = store_of(tmp_path / "s.duckdb", {"a": ({}, transferred(0.9)), "r": (CONTROL, transferred(0.5))})
    row = robustness(store)[0]
    assert row.kind == "another image set" and row.verdict == "yes" and row.claim == "yes"
    assert math.isnan(row.clean_codes) and math.isnan(row.majority) and row.curve == []
    assert not row.beyond_control.is_paired and row.beyond_control.value == pytest.approx(0.4)
    # Without a stated level of chance, nothing says that the probes are at chance.
    assert not row.at_chance


def test_answers_name_the_layer_and_the_images(tmp_path: Path) -> None:
    cells = {"a": {}, "b": {"site": "other"}, "c": {"dataset": "drawings"}}
    store = store_of(
        tmp_path / "s.duckdb", {name: ({**changes, "label": "same"}, scores(0.8)) for name, changes in cells.items()}
    )
    made = {answer.cell_id: (answer.label, answer.site, answer.dataset) for answer in answers(robustness(store))}
    assert made == {"a": ("same", "fc", "photos"), "b": ("same", "other", "photos"), "c": ("same", "fc", "drawings")}


@pytest.mark.parametrize(
    "details",
    [
        None, {}, {"curve": 3}, {"curve": [3, None, {"codes": "x"}]}, {"curve": [{"codes": 1.0, "layer": [2]}]},
        {"majority": "x", "images": [1]}, {"images": {"a": 1}, "right": 3, "trials": -1},
    ],
)  # fmt: skip
def test_a_store_with_damaged_details_is_read(tmp_path: Path, details: Any) -> None:
    records = [
        ScoreRecord(metric=METRIC, value=0.7, uncertainty=0.01, n=50, details=details),
        ScoreRecord(metric=f"{METRIC}_gain", value=math.nan, uncertainty=0.01, n=50),
    ]
    store = store_of(tmp_path / "s.duckdb", {"a": ({"claims": None, "n_units": None}, records)})
    (row,) = robustness(store)
    assert row.verdict == "not decidable" and row.curve == [] and row.control is None and math.isnan(row.layer)
    assert answers([row])[0].answer == "not decidable"


def test_json_is_complete_and_an_empty_store_has_no_rows(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s.duckdb", {"a": ({}, [s for m in LEVELS for s in scores(0.9, metric=m)])})
    made = as_json(robustness(store))
    text = json.loads(json.dumps(made))
    assert [row["metric"] for row in text["rows"]] == list(LEVELS)
    assert set(text["rows"][0]["gain"]) >= {"value", "low", "high", "p", "n"} and "Holm" in text["rule"]
    assert text["answers"][0]["n_kinds"] == 3
    assert robustness(store_of(tmp_path / "none.duckdb", {"a": ({}, [])})) == []


def test_codes_without_a_difference_are_rarely_a_verdict() -> None:
    from results.comparison.robust_sides import student

    false = 0
    for seed in range(300):
        a, b = (predictions(METRIC, 0.6, 2 * seed + side)[1:].mean(0) for side in (0, 1))
        p = student(np.mean(a - b, axis=0), np.mean(a - b, axis=1)).p
        assert p is not None
        false += p < 0.05
    assert false <= 24


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all metrics for a method and its control."""
    path = tmp_path_factory.mktemp("whole") / "s.duckdb"
    cells = {name: [s for m in LEVELS for s in scores(value, metric=m)] for name, value in (("a", 0.9), ("b", 0.6))}
    store_of(path, {"a": ({}, cells["a"]), "b": (CONTROL, cells["b"])})
    return path


def check_hostile(whole: Path, tmp_path: Path, mutation: Mutation) -> None:
    hostile = hostile_store(whole, tmp_path / "hostile.duckdb", mutation)
    try:
        text = json.dumps(as_json(robustness(open_store(hostile))), default=str)
        drawn = figure(open_store(hostile), "robustness", "svg").content
    except StoreError as error:
        assert len(str(error)) < 2000
        return
    assert SECRET not in text and SECRET.encode() not in drawn


_SAMPLE = ("every column of type DOUBLE: 1.7e308", "every column of type JSON: a list of objects", "equal units")


@pytest.mark.parametrize(
    "mutation", [m for m in combined() if m.name in _SAMPLE or "JSON" in m.name], ids=lambda mutation: mutation.name
)
def test_hostile_stores_are_read_or_refused(whole: Path, tmp_path: Path, mutation: Mutation) -> None:
    check_hostile(whole, tmp_path, mutation)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", list(combined()), ids=lambda mutation: mutation.name)
def test_every_hostile_value_is_read_or_refused(whole: Path, tmp_path: Path, mutation: Mutation) -> None:
    check_hostile(whole, tmp_path, mutation)
