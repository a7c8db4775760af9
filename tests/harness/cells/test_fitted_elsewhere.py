"""Dictionaries that were trained elsewhere as rows of a run: right scores, and no cost of a fit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from small_runs import suite_of

from harness import load_suite
from harness.errors import UserError
from harness.run import run
from harness.suites import parse_suite
from methods.pretrained import load
from results import leaderboard, open_store

pytestmark = pytest.mark.run


def test_weights_give_the_scores_of_the_method_that_wrote_them_and_no_time_of_a_fit(
    photo_folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "r.duckdb"
    common = {"seeds": {"tokens": [1]}, "targets": [{"backbone": "tiny_vit", "site": "blocks.1"}]}
    run(suite_of(photo_folder, "topk_sae", **common), store)
    artifact = open_store(store).cells()["artifact"][0]
    entry = {"name": "pretrained_sae", "label": "mine", "config": {"weights": str(tmp_path / artifact)}}
    suite = parse_suite({**suite_of(photo_folder, "identity", **common).model_dump(), "methods": [entry]})
    summary = run(suite, store)
    assert (summary.finished, summary.failed) == (1, 0)
    values = open_store(store).scores().pivot(index="metric", columns="label", values="value")
    evaluated = values.dropna().index
    assert {"ms_score", "r2", "agreement", "l0"} <= set(evaluated)
    assert values["mine"][evaluated].tolist() == values["TopK SAE"][evaluated].tolist()
    cell = open_store(store).cells().set_index("label").loc["mine"]
    assert pd.isna(cell["fit_seconds"])
    assert not {"evidence_gradients", "fit_peak_memory"} & set(values["mine"].dropna().index)
    row = next(row for row in leaderboard(open_store(store))[0].rows if row.label == "mine")
    assert not any("fit" in key for key in row.metrics)


def test_a_file_of_another_width_is_refused_before_the_run(photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    common = {"seeds": {"tokens": [1]}}
    run(suite_of(photo_folder, "topk_sae", **common), store)
    artifact = tmp_path / open_store(store).cells()["artifact"][0]
    assert load(artifact).input_width == 24
    suite = load_suite("demo", dictionaries=[f"{artifact}:mine"], methods=["identity"], token_seeds=[42])
    small = suite.targets[-1].model_copy(update={"backbone": "tiny_cnn", "site": "mix", "head": None})
    suite = suite.model_copy(update={"targets": (small,), "data": suite_of(photo_folder, "identity").data})
    with pytest.raises(UserError, match=r"^mine reads 24 features, and 'mix' of tiny CNN has 12\. Give the layer"):
        run(suite, store)
    skipping = suite.model_copy(update={"targets": (small.model_copy(update={"skip_unsuitable": True}),)})
    summary = run(skipping, store)
    assert (summary.finished, summary.failed) == (1, 0)


def test_weights_that_cannot_be_read_are_refused_before_the_run(photo_folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "sae.safetensors"
    weights.write_bytes(b"no safetensors")
    suite = suite_of(photo_folder, "identity", seeds={"tokens": [1]})
    entry = {"name": "pretrained_sae", "label": "mine", "config": {"weights": str(weights)}}
    with pytest.raises(UserError, match="is of no known format of weights"):
        run(parse_suite({**suite.model_dump(), "methods": [entry]}), tmp_path / "r.duckdb")
    assert not (tmp_path / "r.duckdb").exists()
