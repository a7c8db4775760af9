"""`harness verify`: nothing in a right store, and every corruption named."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from labelled_cell import name_units

from harness.identity import digest
from harness.metrics.recovered_share import recovered_share
from results import CellRecord, ScoreRecord, Store, open_store
from results.store import judgments
from results.store.canonical import canonical_json
from results.store.explanations import ExplanationRecord, record_explanations
from results.store.judgments import ReplyRecord, TournamentRecord
from results.store.outcomes import ImageOutcome
from results.store.unit_maps import pack
from results.verify import check_names, verify
from results.verify.base import StoreProblem

N_UNITS, D_OUT, N_IMAGES, N_TOKENS = 8, 4, 20, 60
MS, NULL = [0.2, 0.4, 0.6], [0.1, 0.0, 0.2]
#: Standard error of the mean of MS.
ERROR = 0.2 / math.sqrt(3)
#: Outcomes of the images: accuracy 0.75, of the original 0.8, with mean ablation 0.25.
OUTCOMES = {
    name: np.arange(N_IMAGES) < n
    for name, n in (("accuracy", 15), ("floor_original_accuracy", 16), ("floor_mean_accuracy", 5))
}
RECOVERED = recovered_share(*OUTCOMES.values())
Attack = Callable[..., list[StoreProblem]]


def identity(method: str, seed: int) -> dict[str, object]:
    return {
        "cell": 1,
        "backbone": "tiny",
        "site": "fc",
        "token_seed": seed,
        "init_seed": 0,
        "method": {"name": method, "version": 1, "config": {"k": 2, "rate": 1e-3}},
        "metrics": {"ms_score": 1},
    }


def unit_rows() -> pd.DataFrame:
    """Eight units: three scored, one that fires on a single image, four dead."""
    fires = [30, 20, 10, 1, 0, 0, 0, 0]
    values = [[3.0, 2.0, 1.0]] * 3 + [[1.0, 0.0, 0.0]] + [[0.0, 0.0, 0.0]] * 4
    return pd.DataFrame(
        {
            "unit": np.arange(N_UNITS),
            "alive": [n > 0 for n in fires],
            "ms_score": [*MS, *[np.nan] * 5],
            "max_activation": [unit_values[0] for unit_values in values],
            "min_activation": 0.0,
            "fires": fires,
            "top_image": [[4, 0, 19]] * N_UNITS,
            "top_position": [[0, 0, 0]] * N_UNITS,
            "top_value": [np.array(unit_values, np.float32) for unit_values in values],
            "redundancy": [0.5, 0.5, 0.0, 1.0, *[np.nan] * 4],
            "ms_score_null": [*NULL, *[np.nan] * 5],
            "prefix_share": [0.0, 0.5, 1.0, 0.0, *[np.nan] * 4],
        }
    )


def record_cell(store: Store, method: str, seed: int) -> str:
    cell_identity = identity(method, seed)
    cell_id = digest(cell_identity)
    ms, null = float(np.mean(MS)), float(np.mean(NULL))
    levels = {"ms_score": ms, "ms_score_null": null}
    shares = {"accuracy": (0.75, N_IMAGES), "agreement": (1.0, N_IMAGES), "alive_fraction": (0.5, N_UNITS)}
    scores = [
        ScoreRecord(metric="ms_score", value=ms, n=3, unit="fraction", uncertainty=ERROR, uncertainty_kind="units"),
        ScoreRecord(metric="ms_score_null", version=2, value=null, n=3, unit="fraction", direction="none"),
        ScoreRecord(metric="ms_score_patch", value=0.3, n=2, unit="fraction", direction="none"),
        ScoreRecord(metric="ms_score_cls", value=0.6, n=1, unit="fraction", direction="none"),
        ScoreRecord(metric="floor_mean_accuracy", value=0.25, n=N_IMAGES, unit="fraction", direction="none"),
        ScoreRecord(metric="floor_original_accuracy", value=0.8, n=N_IMAGES, unit="fraction", direction="none"),
        ScoreRecord(metric="accuracy_recovered", value=RECOVERED[0], n=N_IMAGES, uncertainty=RECOVERED[1]),
        ScoreRecord(metric="fvu", value=1.5, direction="lower"),
        ScoreRecord(metric="r2_pooled", value=-0.5, unit="fraction"),
        # Worse than chance is possible: it was once reported as impossible.
        ScoreRecord(metric="class_purity_adjusted", value=-0.05, unit="fraction"),
        ScoreRecord(
            metric="ms_score_adjusted", version=2, value=(ms - null) / (1 - null), unit="fraction", details=levels
        ),
        ScoreRecord(metric="unit_overlap", value=0.5, n=4, unit="fraction", direction="lower"),
        ScoreRecord(metric="unique_units", value=0.25, n=4, unit="fraction"),
        ScoreRecord(metric="ms_score_undefined", value=1, n=4, unit="units", direction="none"),
        ScoreRecord(metric="r2", value=-3.0, unit="fraction", uncertainty=0.1, details={"without_group": [-3.1, -2.9]}),
        ScoreRecord(metric="l0", value=61 / N_TOKENS, n=N_TOKENS, unit="units", direction="lower"),
        ScoreRecord(metric="kl", value=0.2, unit="nat", direction="lower"),
        ScoreRecord(metric="expansion_factor", value=2.0, direction="none"),
        ScoreRecord(metric="effective_rank", value=3.5, details={"width": 4}),
        ScoreRecord(metric="effective_rank_share", value=3.5 / 4, unit="fraction"),
        ScoreRecord(metric="evidence_gradients", value=280.0, unit="steps", direction="none"),
        ScoreRecord(metric="max_collinearity", value=0.9, direction="lower"),
        ScoreRecord(metric="min_distinctness", value=0.1),
        ScoreRecord(metric="nearest_cosine_mean", value=0.7, direction="lower"),
        *(ScoreRecord(metric=name, value=value, n=n, unit="fraction") for name, (value, n) in shares.items()),
    ]
    cell = CellRecord(
        cell_id=cell_id,
        status="finished",
        backbone="tiny",
        site="fc",
        method=method,
        config={"k": 2, "rate": 1e-3},
        token_seed=seed,
        init_seed=0,
        evaluation_fingerprint="evaluation",
        identity=cell_identity,
        d_in=4,
        d_out=D_OUT,
        n_units=N_UNITS,
    )
    maps = pd.DataFrame({"unit": [0, 1], "side": 2, "maps": [pack(np.full((3, 2, 2), 7))] * 2, "peaks": [[1, 2]] * 2})
    outcomes = {name: ImageOutcome(np.ones(N_IMAGES, dtype=bool), positive) for name, positive in OUTCOMES.items()}
    store.record(cell, scores, unit_rows(), outcomes=outcomes, unit_maps=maps.astype({"unit": "int32"}))
    return cell_id


def judge(store: Store, first: str, second: str) -> None:
    """Three pairs in both orders and a control, one judge: the first method wins four, one tie by no valid answer."""
    frame = pd.DataFrame(
        [
            (f"p{pair}", order, *((first, second) if order == 0 else (second, first)))
            for pair in range(3)
            for order in (0, 1)
        ]
        + [("control", 0, first, first)],
        columns=["pair_id", "order", "cell_a", "cell_b"],
    )
    for side in ("a", "b"):
        frame[f"unit_{side}"] = 0
        frame[f"grid_{side}"] = [f"{pair}{order}{side}" for pair, order in zip(frame.pair_id, frame.order, strict=True)]
    answers = ["A", "B", "A", "B", None, "B", "A"]
    answers[5] = "A"
    rates = pd.DataFrame(
        [
            {"label": "topk_sae", "cell_ids": [first], "win_rate": 0.8, "wins": 4, "rank": 1},
            {"label": "elude", "cell_ids": [second], "win_rate": 0.2, "wins": 1, "rank": 2},
        ]
    ).assign(config_id="c", ci_low=0.1, ci_high=0.9, n=5, ties=1, rank_low=1, rank_high=2, strength=0.0)
    tournament = TournamentRecord(
        tournament="t" * 16,
        panel="proxy:one",
        judges=["one"],
        prompt_version="1",
        settings={},
        n_comparisons=6,
        pairwise=[{"method": "a", "opponent": "b", "n": 5}, {"method": "b", "opponent": "a", "n": 5}],
    )
    judgments.record_tournament(store, tournament, rates, frame)
    replies = [
        ReplyRecord(judge="one", prompt_version="1", grid_a=a, grid_b=b, attempt=1, answer=answer, raw="said")
        for a, b, answer in zip(frame.grid_a, frame.grid_b, answers, strict=True)
    ]
    judgments.record_replies(store, replies)
    concept = ExplanationRecord(
        cell_id=first,
        unit=1,
        judge="one",
        prompt_version="explain-1+detect-1",
        images=5,
        concept="dogs",
        n_positive=4,
        n_negative=5,
        true_positives=3,
        true_negatives=5,
        balanced_accuracy=0.875,
    )
    record_explanations(store, first, ["one"], concept.prompt_version, 5, [concept], [], replaces=[])


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = open_store(tmp_path_factory.mktemp("verify") / "right.duckdb", read_only=False)
    store.record_images("evaluation", pd.DataFrame({"index": range(N_IMAGES), "name": map(str, range(N_IMAGES))}))
    ids = [record_cell(store, method, seed) for method in ("topk_sae", "elude") for seed in (1, 2)]
    judge(store, ids[0], ids[2])
    name_units(store, ids[0], (0, 1))
    return store.path


@pytest.fixture
def attack(right: Path, tmp_path: Path) -> Attack:
    """Change a copy of the right store with SQL (CELL0 to CELL3: one of its cells) and verify it."""

    def run(*statements: str) -> list[StoreProblem]:
        path = tmp_path / "wrong.duckdb"
        shutil.copy(right, path)
        with duckdb.connect(str(path)) as opened:
            ids = [row[0] for row in opened.execute("SELECT cell_id FROM cells ORDER BY cell_id").fetchall()]
            for sql in statements:
                for number, cell_id in enumerate(ids):
                    sql = sql.replace(f"CELL{number}", f"cell_id = '{cell_id}'")
                opened.execute(sql)
        return verify(open_store(path)).problems

    return run


def test_cells_of_different_environments_are_a_note_and_no_problem(tmp_path: Path) -> None:
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    for cell_id, threads in (("a", 1), ("b", 2), ("c", 2)):
        cell = CellRecord(cell_id=cell_id, status="finished", backbone="tiny", site="fc", method=cell_id)
        environment = {"processor": "P", "threads": threads}
        store.record(dataclasses.replace(cell, environment=environment), [ScoreRecord(metric="r2", value=1.0)])
    verdict = verify(store)
    assert verdict.problems == []
    (note,) = verdict.notes
    assert note.startswith("tiny fc: cells were computed with more than one number of threads (1; 2).")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE unit_maps SET maps = 'x'::BLOB WHERE CELL0 AND unit = 1", "of unit 1 cannot be unpacked"),
        ("UPDATE unit_maps SET side = 3 WHERE CELL0", "of unit 0 cannot be unpacked"),
        ("UPDATE unit_maps SET unit = 0 WHERE CELL0", "are 2 rows of 1 units"),
        ("UPDATE unit_maps SET unit = 900 WHERE CELL0 AND unit = 1", "are of units that do not exist in 1 rows"),
        (f"UPDATE unit_maps SET unit = {N_UNITS - 1} WHERE CELL0 AND unit = 1", "are of dead units in 1 rows"),
    ],
)
def test_wrong_maps_are_reported(sql: str, words: str, attack: Attack) -> None:
    (problem,) = attack(sql)
    assert words in problem.why


def test_nothing_is_found_in_a_right_store(right: Path) -> None:
    verdict = verify(open_store(right))
    assert verdict.problems == []
    # Each check had something to look at, but for claims that no method here makes.
    assert {name for name, n in verdict.checked.items() if not n} == {"lossless", "backbone", "groups", "plan"} - {
        "plan"
    }
    assert list(verdict.checked) == check_names()


def _score(metric: str, value: str) -> str:
    return f"UPDATE scores SET {value} WHERE metric = '{metric}' AND CELL0"


def _unit(unit: int, value: str) -> str:
    return f"UPDATE units SET {value} WHERE unit = {unit} AND CELL0"


# (SQL, check, words): those of one batch do not hide each other, and are made in one store, which is quicker.
BATCHES = {
    "scores": [
        (_score("r2", "value = 1.2"), "ranges", "at most 1"),
        (_score("kl", "value = -2"), "ranges", "at least 0"),
        (_score("agreement", "value = 1.05"), "ranges", "1.05; it must be between 0 and 1"),
        (_score("max_collinearity", "value = 1.5"), "ranges", "1.5; it must be between 0 and 1"),
        (_score("ms_score", "uncertainty = -1"), "ranges", "standard error -1"),
        (_score("accuracy", "value = 0.77"), "relations", "not a whole number"),
        (_score("ms_score_adjusted", "value = value + 0.01"), "relations", "(MS - null) / (1 - null)"),
        (_score("min_distinctness", "value = 0.2"), "relations", "1 - max_collinearity"),
        (_score("l0", "value = 9"), "relations", "8 units"),
        (_score("expansion_factor", "value = 3"), "relations", "are 2"),
        (_score("effective_rank", "value = 5"), "relations", "at most 4"),
        (_score("ms_score", "n = 4"), "unit scores", "is over 4 units, but 3"),
        (_score("unit_overlap", "value = 0.4"), "unit scores", "mean over its alive unit rows is 0.5"),
    ],
    "more scores": [
        (_score("kl", "value = 'inf'"), "ranges", "is inf; it must be finite"),
        (_score("ms_score", "uncertainty = 'inf'"), "ranges", "standard error inf"),
        (_score("agreement", "n = 19"), "baseline", "over 19 images in one cell and 20"),
        (_score("l0", "value = 0.5, n = 29"), "units", "fires on 30 of 29 tokens"),
        (_score("l0", "value = 0.5"), "units", "units fire per token"),
        ("UPDATE cells SET config = '{\"k\": 3}' WHERE CELL1", "identity", "configuration"),
        ("UPDATE cells SET token_seed = 7 WHERE CELL2", "identity", "token seed 7"),
        ("UPDATE cells SET identity = json_merge_patch(identity, '{\"x\": 5}') WHERE CELL3", "identity", "hash"),
        ("UPDATE win_rates SET rank = 2", "tournaments", "has the rank 2"),
        ("UPDATE win_rates SET win_rate = 0.7 WHERE wins = 4", "tournaments", "won 4 of 5"),
        ("UPDATE replies SET answer = 'A' WHERE answer = 'B'", "recount", "a recount of its replies"),
        ("UPDATE explanations SET true_positives = 4", "explanations", "0.875, and its answers give 1"),
        ("UPDATE explanations SET concept = ''", "explanations", "without a concept or from fewer than 2 answers"),
    ],
    "shares of images": [
        (_score("accuracy_recovered", "value = 0.8"), "recovered", "which means accuracy 0.690000; that is 0.75"),
        (_score("r2_pooled", "value = 0.5"), "recovered", "1 - fvu is 1.5"),
        (_score("fvu", "value = -0.5"), "ranges", "at least 0"),
        ("UPDATE outcomes SET positive = counted WHERE CELL1", "outcomes", "1.000000 by the outcomes of its images"),
        ("UPDATE outcomes SET n = 30 WHERE CELL2", "outcomes", "another length than 30 images"),
        ("UPDATE explanations SET true_negatives = 6", "explanations", "more right answers than answers"),
        ("UPDATE explanations SET unit = 99", "explanations", "a unit that does not exist"),
        ("UPDATE explanations SET control_unit = 99", "explanations", "a control that is no other unit"),
        ("UPDATE explanations SET control = 7", "explanations", "has the control 7.0; it must be from 0 to 1"),
        ("UPDATE scores SET value = 9 WHERE metric = 'steering_effect'", "steering scores", "2 classes give 1.5"),
        ("UPDATE scores SET value = 9 WHERE metric = 'distinct_labels'", "labels", "and their rows give 1"),
    ],
    "standard errors": [
        (_score("ms_score", "uncertainty = uncertainty * 1.001"), "unit scores", "that of its unit rows is 0.11547"),
        (
            _score("ms_score", "uncertainty_kind = 'images'").replace("CELL0", "CELL1"),
            "unit scores",
            "has an error over images; it must be over units",
        ),
        (_score("accuracy", "uncertainty = 0.01"), "outcomes", "that of its outcomes is 0.0952381"),
        (_score("r2", "uncertainty = 0.01"), "jackknife", "its estimates without one group give 0.1"),
        (
            _score("fvu", "uncertainty = 0.1, details = '{\"without_group\": [0.8, 1.0]}'"),
            "jackknife",
            "estimates without one group of images are 0.800000 to 1.000000",
        ),
        (_score("accuracy_recovered", "uncertainty = 0.01"), "recovered", "that of its outcomes is 0.156"),
    ],
    "companions": [
        (_score("ms_score_adjusted", "n = 2"), "unit scores", "is over 2 units, but 3"),
        (_score("unique_units", "value = 0.6"), "unit scores", "mean over its alive unit rows is 0.25"),
        (_score("ms_score_undefined", "value = 2"), "units", "1 of its 4 alive units have no value"),
        (_score("effective_rank_share", "value = 0.9"), "relations", "the rank over min(units, width) is 0.875"),
        ("UPDATE cells SET fit_seconds = 1e-6 WHERE CELL0", "relations", "for 280 gradient steps"),
    ],
    "levels": [
        (_score("ms_score_null", "value = 0.3"), "unit scores", "mean over its alive unit rows is 0.1"),
        (_score("ms_score_patch", "value = 0.4"), "unit scores", "mean over its alive unit rows is 0.3"),
        (_score("ms_score_cls", "n = 2"), "unit scores", "is over 2 units, but 1"),
        (_unit(0, "prefix_share = 1.5").replace("CELL0", "CELL1"), "units", "CLS or register tokens outside 0 to 1"),
        (
            _unit(1, "ms_score_null = -1.2").replace("CELL0", "CELL1"),
            "units",
            "chance level of the MS score outside -1 to 1",
        ),
    ],
    "version 1 of the level": [
        ("UPDATE scores SET version = 1 WHERE metric IN ('ms_score_null', 'ms_score_adjusted')", "relations", ""),
        (_score("ms_score_null", "value = 0.3"), "baseline", "does not depend on the method"),
        (_score("ms_score_null", "value = 0.3"), "relations", "(MS - null) / (1 - null) is 0.142857"),
    ],
    "newer win rates": [
        ("UPDATE tournaments SET settings = '{\"version\": 2}'", "recount", "the mean over its opponents is 0.8"),
        ("UPDATE win_rates SET win_rate = 0.7 WHERE wins = 4", "tournaments", "sum to 0.9"),
        (
            "UPDATE win_rates SET new_low = 0.75, new_high = 0.9 WHERE wins = 4",
            "tournaments",
            "interval for new units [0.75, 0.9]",
        ),
    ],
    "units": [
        (_unit(0, "ms_score = 1.2"), "units", "outside -1 to 1"),
        (_unit(1, "fires = 0"), "units", "are alive and never fire"),
        (_unit(2, "top_value = [1, 2, 3]"), "units", "not the strongest first"),
        (_unit(3, "redundancy = 1.5"), "units", "unit overlap outside 0 to 1"),
        (_unit(3, "max_activation = 9"), "units", "not their maximum"),
        (_unit(4, "top_image = [4, 4, 4]"), "units", "have an image twice"),
        (_unit(5, "top_image = [4]"), "units", "different numbers of images and values"),
        (_unit(6, "top_image = [4, 0, 20]"), "images", "the set has 0 to 19"),
        (_unit(6, "max_activation = -1"), "units", "below their minimum"),
        (_unit(7, "ms_score = 0.5"), "units", "are dead and have an MS score"),
    ],
    "rows that are gone": [
        ("DELETE FROM units WHERE CELL0", "units", "no unit rows"),
        ("DELETE FROM units WHERE unit = 5 AND CELL1", "units", "are 7 rows"),
        ("UPDATE units SET ms_score = NULL WHERE CELL2", "unit scores", "no alive unit row has one"),
        ("UPDATE cells SET status = 'failed' WHERE CELL3", "orphans", "which has failed"),
        ("DELETE FROM replies WHERE grid_a = 'p00a'", "recount", "1 replies that are no longer"),
    ],
    "more rows that are gone": [
        ("DELETE FROM cells WHERE CELL0", "orphans", "does not exist"),
        ("DELETE FROM scores WHERE CELL1", "plan", "no score"),
        ("DELETE FROM images", "images", "not in the store"),
        ("DELETE FROM comparisons", "recount", "its comparisons are not in the store"),
    ],
}


@pytest.mark.parametrize("batch", BATCHES)
def test_each_corruption_is_named(attack: Attack, batch: str) -> None:
    problems = attack(*(sql for sql, _, _ in BATCHES[batch]))
    for sql, check, words in BATCHES[batch]:
        assert any(one.check == check and words in f"{one.where} {one.why}" for one in problems), (sql, problems)


def test_equal_win_rates_may_have_different_ranks_in_the_last_bit(attack: Attack) -> None:
    """Means of the same fractions in another order differ so; earlier versions ranked them one after the other."""
    equal = "UPDATE win_rates SET win_rate = 0.5, ci_high = 0.9 WHERE wins = 4"
    almost = "UPDATE win_rates SET win_rate = 0.49999999999999994 WHERE wins = 1"
    assert not [problem for problem in attack(equal, almost) if "rank" in problem.why]
    wrong = attack(equal, almost, "UPDATE win_rates SET rank = 3 WHERE wins = 1")
    assert [problem for problem in wrong if "rank 3" in problem.why]


def test_stores_from_before_the_per_unit_levels_are_right(attack: Attack) -> None:
    older = "UPDATE units SET ms_score_null = NULL, prefix_share = NULL, class_purity_chance = NULL"
    versions = "UPDATE scores SET version = 1, details = NULL WHERE metric IN ('ms_score_null', 'ms_score_adjusted')"
    assert attack(older, versions, "DELETE FROM scores WHERE metric IN ('ms_score_patch', 'ms_score_cls')") == []


def test_a_tournament_of_either_version_is_recounted_by_its_rule(attack: Attack) -> None:
    """A second judge without a reply: by version 1 one valid vote decides, by version 2 nothing does."""
    more = 'UPDATE tournaments SET judges = \'["one", "two"]\', n_missing = 7'
    assert attack(more) == []
    problems = attack(more, "UPDATE tournaments SET settings = '{\"version\": 2}'")
    assert any("gives 0, 0 and 6" in problem.why for problem in problems), problems


def test_replies_that_came_after_the_rates_are_no_problem(attack: Attack) -> None:
    assert attack("UPDATE tournaments SET n_missing = 2") == []


def test_an_identity_hashes_the_same_on_both_sides() -> None:
    cell_identity = identity("topk_sae", 1)
    assert canonical_json(cell_identity) == canonical_json(dict(reversed(cell_identity.items())))
    assert len(digest(cell_identity)) == 16
