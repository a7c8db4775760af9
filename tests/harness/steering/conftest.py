"""A store with cells of a planted layer, whose units are known."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.suites import Suite
from results import Store, open_store

SUITES = Path(harness.__file__).parent / "suites"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Suite]:
    """A store with the planted parts of a layer, with parts at random, and with a sparse autoencoder."""
    loaded = harness.load_suite(
        SUITES / "_planted_two_concepts.toml",
        methods=("oracle", "random_split", "topk_sae"),
        token_seeds=(42,),
        settings=["evaluation.metrics=['r2']"],
    )
    suite = loaded.model_copy(update={"targets": loaded.targets[:1]})
    path = tmp_path_factory.mktemp("planted") / "results.duckdb"
    assert harness.run_suite(suite, path).failed == 0
    return open_store(path, read_only=False), suite
