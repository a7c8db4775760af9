"""Identities: canonical text, seeds, and cell ids that must not change."""

from __future__ import annotations

import math

import pytest

from harness.cells.plan import cells_of, prepare
from harness.identity import canonical, digest, seed_of
from harness.suites import parse_suite


def test_canonical_text_does_not_depend_on_order() -> None:
    assert canonical({"b": 1, "a": [1.5, None, "ü"]}) == '{"a":[1.5,null,"ü"],"b":1}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
    with pytest.raises(ValueError):
        canonical({"a": math.nan})


def test_seeds_of_different_parts_differ() -> None:
    seeds = {seed_of("tokens", i, j) for i in range(50) for j in range(50)}
    assert len(seeds) == 2500 and all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of("tokens", 1, 23) != seed_of("tokens", 12, 3)


def test_these_hashes_must_not_change() -> None:
    """Results on other people's disks are found by them. A change needs a new version, not a new expectation here."""
    assert digest({"method": "elude", "config": {"top_k": 1500}, "seeds": [42, 7]}) == "4b2694dcfbc978f2"
    assert seed_of("tokens", 42, 7, 0) == 1062693155908959083


def test_the_identity_of_these_cells_must_not_change() -> None:
    """The ids of three cells of the shipped photographs and weights, with every default of today's configuration."""
    suite = parse_suite(
        {
            "name": "golden",
            "data": {"dataset": "photos", "evaluation": 100},
            "probing": {"crops": 1, "tokens_per_image": 8},
            "evaluation": {"top_images": 20, "metrics": ["r2", "ms_score"]},
            "targets": [{"backbone": "efficientnet_lite0", "site": "conv_head"}],
            "methods": [
                {"name": "identity"},
                {"name": "random_split", "config": {"parts": 3}},
                {"name": "random_split", "config": {"counts_of": {"name": "identity"}}},
            ],
        }
    )
    cells = cells_of(suite, prepare(suite, device="cpu"))
    assert [cell.cell_id for cell in cells] == ["b6d361ce7ef6dde6", "5e10242974039945", "fca2c0d87960bebe"]


def test_everything_that_changes_a_result_changes_the_id() -> None:
    base = {
        "name": "x",
        "data": {"dataset": "photos"},
        "targets": [{"backbone": "tiny_vit"}],
        "methods": [{"name": "random_split", "config": {"parts": 2}}],
    }
    variants = [
        {},
        {"seeds": {"tokens": [1]}},
        {"seeds": {"init": [1]}},
        {"probing": {"crops": 1}},
        {"probing": {"dtype": "float16"}},
        {"probing": {"tokens_per_image": "all"}},
        {"evaluation": {"top_images": 10}},
        {"evaluation": {"metrics": ["r2"]}},
        {"data": {"dataset": "photos", "evaluation": 50}},
        {"data": {"dataset": "photos", "split_seed": 1}},
        {"targets": [{"backbone": "tiny_vit", "site": "blocks.2.mlp.fc2"}]},
        {"targets": [{"backbone": "tiny_cnn"}]},
        {"targets": [{"backbone": "tiny_cnn", "head": "probe"}]},
        {"methods": [{"name": "random_split", "config": {"parts": 3}}]},
        {"methods": [{"name": "identity"}]},
    ]
    ids = []
    for change in variants:
        suite = parse_suite({**base, **change})
        ids += [cell.cell_id for cell in cells_of(suite, prepare(suite, device="cpu"))]
    assert len(set(ids)) == len(variants)
    # What does not change a result does not change the id: the suite's name, labels, batch size.
    same = parse_suite(
        {
            **base,
            "name": "y",
            "evaluation": {"batch_size": 3},
            "methods": [{"name": "random_split", "label": "other", "config": {"parts": 2}}],
        }
    )
    assert [cell.cell_id for cell in cells_of(same, prepare(same, device="cpu"))] == ids[:1]
