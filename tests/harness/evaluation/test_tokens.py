"""`harness.collect_tokens`: the probing tokens of the run with the same arguments, from the same cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.errors import UserError

OPTIONS: dict[str, Any] = {"evaluation": 18, "crops": 1, "tokens_per_image": 4, "progress": False}


@pytest.fixture
def dataset(photo_folder: Path) -> str:
    return f"folder:{photo_folder}"


def test_tokens_are_those_of_the_run(dataset: str, tmp_path: Path) -> None:
    options = {"backbone": "tiny_vit", "site": "blocks.1.mlp.fc2", "dataset": dataset}
    settings = ["probing.crops=1", "probing.tokens_per_image=4", "evaluation.top_images=4"]
    more: dict[str, Any] = {"evaluation": 18, "settings": settings, "metrics": ["l0"], "progress": False}
    harness.evaluate("identity", store=tmp_path / "r.duckdb", **options, **more)
    folders = list((tmp_path / "cache" / "tokens").iterdir())
    site, tokens = harness.collect_tokens(*options.values(), **OPTIONS, cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "tokens").iterdir()) == folders == [tokens.folder], "read from the cache"
    assert tokens.width("input") == site.d_in and tokens.width("output") == site.d_out
    q, a = (tokens.gather(field, np.arange(8)) for field in ("input", "output"))
    assert torch.allclose(q @ site.weight.T + site.bias, a, atol=1e-5), "a = W q + b"


def test_the_seed_draws_other_tokens(dataset: str, tmp_path: Path) -> None:
    def rows(seed: int) -> torch.Tensor:
        _, tokens = harness.collect_tokens(
            "tiny_vit", "blocks.1", dataset, seed=seed, cache=tmp_path / str(seed), **OPTIONS
        )
        return tokens.gather("output", np.arange(tokens.n))

    assert not torch.equal(rows(1), rows(2))
    _, again = harness.collect_tokens("tiny_vit", "blocks.1", dataset, seed=1, cache=tmp_path / "again", **OPTIONS)
    assert torch.equal(rows(1), again.gather("output", np.arange(again.n)))


def test_zero_takes_all_tokens(dataset: str, tmp_path: Path) -> None:
    options = {**OPTIONS, "tokens_per_image": 0, "crops": 0}
    _, tokens = harness.collect_tokens("tiny_vit", "blocks.1", dataset, cache=tmp_path, **options)
    n_images = len(np.unique(tokens.image))
    assert tokens.n == n_images * len(np.unique(tokens.position)), "each token of the centre crop once"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tokens_per_image": -1}, "collect_tokens: tokens_per_image = -1: give a whole number from 0."),
        ({"tokens_per_image": True}, "collect_tokens: tokens_per_image = True"),
        ({"crops": 1.5}, "collect_tokens: crops = 1.5"),
        ({"seed": "a"}, "collect_tokens: seed = 'a'"),
        ({"seed": (1, 2)}, "collect_tokens: seed = (1, 2): give one whole number"),
        ({"backbone": "tiny_vti"}, "Did you mean tiny_vit"),
        ({"site": "blocks.7"}, "The backbone has no layer 'blocks.7'"),
        ({"dataset": "folder:/nowhere"}, "/nowhere"),
        ({"device": "tpu"}, "--device tpu is not available"),
        ({"device": 1}, "--device 1 is not available"),
    ],
)
def test_wrong_arguments_are_refused(dataset: str, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    arguments = {"backbone": "tiny_vit", "dataset": dataset, "cache": tmp_path / "cache", **OPTIONS, **changes}
    with pytest.raises(UserError) as refused:
        harness.collect_tokens(**arguments)
    assert sentence in str(refused.value)
    assert not (tmp_path / "cache").exists()
