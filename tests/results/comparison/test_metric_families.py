"""Families of metrics: one member is tested, companions follow from their parents."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from paired_store import cell

from results import ScoreRecord, open_store
from results.comparison.compare import compare
from results.comparison.difference import Difference
from results.comparison.metric_families import FAMILIES, affine_of, family_name, member_under_test
from results.comparison.text import table
from results.comparison.unit_values import UNIT_VALUES
from results.store.outcomes import ImageOutcome


def test_every_metric_belongs_to_one_family() -> None:
    members = [metric for family in FAMILIES for metric in family]
    assert len(members) == len(set(members))
    assert family_name("unique_units") == "unit_overlap" and family_name("plugin_metric") == "plugin_metric"


def test_the_parent_of_an_affine_companion_is_tested() -> None:
    old = [("ms_score", 1), ("ms_score_adjusted", 1)]
    assert {member_under_test(*metric, old) for metric in old} == {"ms_score"}
    new = [("ms_score", 1), ("ms_score_adjusted", 2), ("ms_score_token_adjusted", 2)]
    assert {member_under_test(*metric, new) for metric in new} == {"ms_score_token_adjusted"}
    assert member_under_test("r2_pooled", 1, [("r2_pooled", 1)]) == "r2_pooled"
    assert member_under_test("r2_pooled", 1, [("r2_pooled", 1), ("fvu", 1)]) == "fvu"
    assert affine_of("ms_score", 1) is None


def test_pseudo_values_of_the_adjusted_score_have_its_mean_and_its_error() -> None:
    generator = np.random.default_rng(0)
    null = generator.beta(8, 8, 400)
    score = null + (1 - null) * generator.beta(2, 8, 400)
    adjusted = UNIT_VALUES["ms_score_adjusted"].values
    exact = (score.mean() - null.mean()) / (1 - null.mean())
    assert adjusted(score, null).mean() == pytest.approx(exact)
    drawn = generator.integers(0, 400, (4000, 400))
    ratios = (score[drawn].mean(1) - null[drawn].mean(1)) / (1 - null[drawn].mean(1))
    # A standard deviation of 4000 draws has a relative error of 1.1 %.
    assert adjusted(score, null).std() / 20 == pytest.approx(ratios.std(), rel=0.05)
    assert np.isnan(adjusted(np.full(3, np.nan), null[:3])).all() and np.isnan(adjusted(score[:3], np.ones(3))).all()


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Difference]:
    """Two methods on three seeds with unit rows, outcomes of images and companions of version 1."""
    path = tmp_path_factory.mktemp("families") / "s.duckdb"
    store = open_store(path, read_only=False)
    generator = np.random.default_rng(1)
    neurons = generator.uniform(0.4, 0.8, 30)
    outcome = generator.random(100) < 0.7
    for method, more in (("elude", 0.05), ("random_split", 0.0)):
        for seed in (1, 2, 3):
            score = neurons + more * generator.uniform(0, 2, 30)
            chance = generator.choice([0.3, 0.5], 30)
            right = outcome.copy()
            right[: 5 + seed] = method == "elude"
            units = pd.DataFrame(
                {
                    "unit": np.arange(30),
                    "parent": np.arange(30),
                    "alive": np.ones(30, bool),
                    "ms_score": score,
                    "class_purity": score,
                    "class_purity_chance": chance,
                }
            )
            values = {
                "ms_score": score.mean(),
                "ms_score_null": 0.475,
                "ms_score_adjusted": (score.mean() - 0.475) / 0.525,
                "class_purity": score.mean(),
                "class_purity_adjusted": ((score - chance) / (1 - chance)).mean(),
                "accuracy": right.mean(),
                "floor_original_accuracy": 0.8,
                "floor_mean_accuracy": 0.3,
                "accuracy_recovered": (right.mean() - 0.3) / 0.5,
            }
            scores = [ScoreRecord(metric=name, value=float(value), unit="fraction") for name, value in values.items()]
            store.record(
                cell(method, seed, n_units=30),
                scores,
                units,
                outcomes={"accuracy": ImageOutcome(np.ones(100, bool), right)},
            )
    (comparison,) = compare(open_store(path), "elude", "random_split")
    notes = table(comparison).notes
    assert "ms_score_adjusted: not tested, another form of ms_score." in notes
    return {difference.column.metric: difference for difference in comparison.differences}


@pytest.mark.parametrize(
    ("metric", "parent", "slope"),
    [("ms_score_adjusted", "ms_score", 1 / 0.525), ("accuracy_recovered", "accuracy", 2.0)],
)
def test_an_affine_companion_has_the_interval_of_its_parent(
    differences: dict[str, Difference], metric: str, parent: str, slope: float
) -> None:
    companion, of_parent = differences[metric], differences[parent]
    assert of_parent.low is not None and of_parent.high is not None
    assert (companion.low, companion.high) == (
        pytest.approx(slope * of_parent.low),
        pytest.approx(slope * of_parent.high),
    )
    assert (companion.p, companion.p_holm, companion.better, companion.tested_as) == (None, None, None, parent)
    assert of_parent.p is not None and of_parent.tested_as is None


def test_a_companion_of_units_is_resampled_with_its_parent(differences: dict[str, Difference]) -> None:
    purity, adjusted = differences["class_purity"], differences["class_purity_adjusted"]
    assert purity.n_clusters == adjusted.n_clusters == 30
    assert adjusted.tested_as == "class_purity" and adjusted.p is None and adjusted.low is not None


def test_accuracy_is_paired_image_by_image(differences: dict[str, Difference]) -> None:
    accuracy = differences["accuracy"]
    assert accuracy.n_clusters == 100 and accuracy.paired == "3 token seeds paired; 100 images paired"
    # 6 to 8 images differ, all in favour of A, of which some were right in both: McNemar's p is between .01 and .5.
    assert accuracy.p is not None and 0.005 < accuracy.p < 0.5
