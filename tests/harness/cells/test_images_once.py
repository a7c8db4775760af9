"""Decoding over a whole run: once per image and preprocessing, however many cells, sites and passes there are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from decode_counts import count_decodes
from small_runs import scores, suite_of

from harness import datasets
from harness.activations import center_crops, prefix_cache
from harness.cells import plan
from harness.run import run
from harness.suites import Suite
from results import open_store

pytestmark = pytest.mark.run

STORE = "r.duckdb"
SITES = ("blocks.1.mlp.fc2", "blocks.2.mlp.fc2")


def suite_of_two_sites(folder: Path, *more_methods: str, **changes: Any) -> Suite:
    values = {
        "probing": {"crops": 0, "tokens_per_image": 8},
        "targets": [{"backbone": "tiny_vit", "site": site, "head": "probe"} for site in SITES],
        **changes,
    }
    return suite_of(folder, "identity", "random_split", *more_methods, **values)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of times that each image is opened, without the check that a split has one that can be read.

    Passes run the whole network, as with a split whose states before the site are too large to be kept.
    """
    counts = count_decodes(monkeypatch)
    monkeypatch.setattr(plan, "require_readable", lambda images: None)
    monkeypatch.setattr(prefix_cache, "SIZE_LIMIT", 0)
    return counts


def names_of(folder: Path) -> tuple[set[str], set[str]]:
    split = datasets.load(f"folder:{folder}").split(evaluation=18)
    probing, evaluation = ({record.name for record in part.records} for part in split)
    return probing, evaluation


def test_each_image_is_decoded_once_in_a_run(photo_folder: Path, tmp_path: Path, opened: Counter[str]) -> None:
    suite = suite_of_two_sites(photo_folder)
    summary = run(suite, tmp_path / STORE)
    assert summary.failed == 0 and len(open_store(tmp_path / STORE).cells()) == 2 * 2 * 2
    probing, evaluation = names_of(photo_folder)
    assert opened == dict.fromkeys(probing | evaluation, 1)
    assert len(list((tmp_path / "cache" / "crops").iterdir())) == 2
    opened.clear()
    run(suite, tmp_path / STORE, rerun=True)
    assert not opened, "another run finds the crops of the first"


def test_scores_are_those_of_decoded_images_to_the_bit(
    photo_folder: Path, tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_of_two_sites(photo_folder, "topk_sae", seeds={"tokens": [1]})
    run(suite, tmp_path / "cached" / STORE)
    monkeypatch.setattr(center_crops, "SIZE_LIMIT", 0)
    opened.clear()
    run(suite, tmp_path / "decoded" / STORE)
    probing, evaluation = names_of(photo_folder)
    # Per site 3 passes for the baseline, and 1 per cell; the activation maps read some images again.
    assert min(opened[name] for name in evaluation) >= 2 * (3 + 3)
    assert {opened[name] for name in probing} == {1}  # one pass for two sites, two seeds and the probe
    pd.testing.assert_frame_equal(
        scores(tmp_path / "cached" / STORE), scores(tmp_path / "decoded" / STORE), check_exact=True
    )
    for kept in ("tokens/*/*.npy", "baselines/*/tokens/*.npy", "baselines/*/logits.f32", "heads/*.safetensors"):
        cached, decoded = (
            {
                str(file.relative_to(tmp_path / name)): file.read_bytes()
                for file in (tmp_path / name / "cache").glob(kept)
            }
            for name in ("cached", "decoded")
        )
        assert cached and cached == decoded, kept
    assert not (tmp_path / "decoded" / "cache" / "crops").exists()


def test_random_crops_are_decoded_besides(photo_folder: Path, tmp_path: Path, opened: Counter[str]) -> None:
    run(suite_of_two_sites(photo_folder, probing={"crops": 2, "tokens_per_image": 8}), tmp_path / STORE)
    probing, evaluation = names_of(photo_folder)
    assert {opened[name] for name in evaluation} == {1}
    assert {opened[name] for name in probing} == {1}  # random crops for two sites, and centre crops for the probe
