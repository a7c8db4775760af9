"""Cells whose metrics need no network: measured on stored outputs, with the scores of a pass through the network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_runs import suite_of

from harness.activations.linear_site import LinearLayerSite
from harness.metrics import METRICS
from harness.metrics.l0 import L0
from harness.run import run
from results import open_store

pytestmark = pytest.mark.run

NAMES = ["l0", "r2", "fvu", "alive_fraction", "effective_rank", "max_collinearity", "expansion_factor"]


def suite(folder: Path, *names: str, dtype: str = "float32", metrics: list[str] = NAMES) -> Any:
    return suite_of(
        folder,
        *names,
        seeds={"tokens": [1]},
        probing={"crops": 1, "tokens_per_image": 4, "dtype": dtype},
        evaluation={"top_images": 4, "batch_size": 5, "metrics": metrics},
    )


def scores(store: Path) -> pd.DataFrame:
    frame = open_store(store).scores()
    frame = frame[frame["metric"].isin([*NAMES, "r2_pooled"])]
    return frame.set_index(["method", "metric"])[["value", "uncertainty", "n"]].sort_index()


def maps(store: Path) -> list[Any]:
    rows = open_store(store).query("SELECT unit, side, maps, peaks FROM unit_maps ORDER BY cell_id, unit")
    return [(row.unit, row.side, bytes(row.maps), list(row.peaks)) for row in rows.itertuples()]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the images that run through the network with a method in place, or up to the site."""
    counted: Counter[str] = Counter()
    for name in ("replace", "capture"):
        original = getattr(LinearLayerSite, name)

        def counting(
            self: Any, network: Any, images: Any, *rest: Any, name: str = name, original: Any = original
        ) -> Any:
            counted[name] += len(images)
            return original(self, network, images, *rest)

        monkeypatch.setattr(LinearLayerSite, name, counting)
    return counted


def test_a_cell_runs_no_image_through_the_network(photo_folder: Path, tmp_path: Path, forwards: Counter[str]) -> None:
    names = ("identity", "topk_sae", "random_dictionary")
    assert run(suite(photo_folder, "identity"), tmp_path / "r.duckdb").finished == 1
    forwards.clear()
    run(suite(photo_folder, *names), tmp_path / "r.duckdb")
    # What is left checks that tokens of the site have places, on blank images.
    assert forwards["replace"] == 0 and forwards["capture"] <= 4


def test_the_scores_and_maps_are_those_of_the_network(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("identity", "topk_sae", "random_dictionary")
    run(suite(photo_folder, *names), tmp_path / "stored" / "r.duckdb")
    monkeypatch.setattr(L0, "needs_network", True)
    run(suite(photo_folder, *names), tmp_path / "network" / "r.duckdb")
    stored, network = (tmp_path / name / "r.duckdb" for name in ("stored", "network"))
    pd.testing.assert_frame_equal(scores(stored), scores(network), check_exact=True)
    assert len(scores(stored)) == 3 * (len(NAMES) + 1)
    assert maps(stored) == maps(network)


def test_rounded_outputs_are_named_and_near(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(suite(photo_folder, "topk_sae", dtype="float16"), tmp_path / "stored" / "r.duckdb")
    monkeypatch.setattr(L0, "needs_network", True)
    run(suite(photo_folder, "topk_sae", dtype="float16"), tmp_path / "network" / "r.duckdb")
    stored, network = (tmp_path / name / "r.duckdb" for name in ("stored", "network"))
    assert (scores(stored)["value"] - scores(network)["value"]).abs().max() < 1e-3
    (notes,) = open_store(stored).cells()["notes"]
    assert "Measured on stored outputs of the layer, which are rounded to float16." in notes
    (notes,) = open_store(network).cells()["notes"]
    assert not any("stored outputs" in note for note in notes)


@pytest.mark.parametrize(("method", "metrics"), [("random_split", NAMES), ("topk_sae", [*NAMES, "agreement"])])
def test_inputs_and_predictions_need_the_network(
    photo_folder: Path, tmp_path: Path, forwards: Counter[str], method: str, metrics: list[str]
) -> None:
    run(suite(photo_folder, "identity", metrics=metrics), tmp_path / "r.duckdb")
    forwards.clear()
    run(suite(photo_folder, method, metrics=metrics), tmp_path / "r.duckdb")
    assert forwards["replace"] == 18


def test_a_metric_of_a_plugin_needs_the_network_unless_it_says_otherwise() -> None:
    needs = {name: METRICS.get(name).needs_network for name in METRICS.names()}
    assert {name for name, network in needs.items() if not network} >= {*NAMES}
    assert needs["accuracy"] and needs["agreement"] and needs["ms_score"]
