"""The wanted expansion factor: the search, on planted layers, resumed, and what is reused between trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import MemorySite, MemoryTokens, small_layer

import methods
from methods.elude import spanning_tree
from methods.elude.clustering import cluster
from methods.elude.expansion import TOLERANCE, TRIES, SizeSearch, is_near, search
from methods.elude.kept import Budget, KeptClustering
from methods.elude.method import ELUDe
from methods.elude.partial import PartialFit, partial_fits
from methods.errors import UserError

pytestmark = pytest.mark.run


def same(a: ELUDe, b: ELUDe) -> bool:
    return all(torch.equal(getattr(a, name).nan_to_num(-1), getattr(b, name).nan_to_num(-1)) for name in a.fitted)


def planted(n_units: int = 8, n_groups: int = 6, members: int = 40) -> tuple[MemorySite, MemoryTokens]:
    """Layer whose units are all driven by groups of tokens with separate inputs; sub-groups divide each group again.

    A group of 40 tokens is two sub-groups of 20 that are close to each other, so that 6 clusters of 40 become 12 of 20.
    """
    generator = torch.Generator().manual_seed(0)
    d_in = 4 * n_groups
    rows = []
    for group, half in ((group, half) for group in range(n_groups) for half in range(2)):
        q = 0.01 * torch.rand(members // 2, d_in, generator=generator)
        q[:, 4 * group : 4 * group + 3] += 1.0
        q[:, 4 * group + 3] += 0.4 * half
        rows.append(q)
    weight = 0.5 + torch.rand(n_units, d_in, generator=generator)
    q = torch.cat(rows)
    return MemorySite(weight, torch.zeros(n_units)), MemoryTokens(q, q @ weight.T)


# ---- the search


@settings(max_examples=200, deadline=None)
@given(st.floats(1.2, 60), st.integers(2, 3000), st.floats(0.4, 2.0), st.booleans())
def test_a_smooth_function_is_met(target: float, start: int, power: float, rising: bool) -> None:
    """Factors of (1000 / size) ** power, or the reverse for the number of instances, on whole numbers up to 10 ** 6."""
    calls: list[int] = []

    def factor_of(value: int) -> float:
        calls.append(value)
        return 1 + ((value / 1000) if rising else (1000 / value)) ** power

    setting = "top_k" if rising else "min_cluster_size"
    result = search(factor_of, setting=setting, start=start, low=2, high=10**6, target=target)  # type: ignore[arg-type]
    assert len(calls) == len(set(calls)) <= TRIES and set(calls) == set(result.tried)
    assert result.factor == result.tried[result.value]
    assert all(abs(np.log(result.factor / target)) <= abs(np.log(factor / target)) for factor in result.tried.values())
    # Met, unless whole numbers near the solution are too far from each other.
    exact = 1000 * (target - 1) ** ((1 if rising else -1) / power)
    neighbours = [
        1 + ((v / 1000) if rising else (1000 / v)) ** power for v in {max(2, int(exact)), max(2, int(exact) + 1)}
    ]
    if 2 <= exact <= 10**6 and any(is_near(factor, target) for factor in neighbours):
        assert is_near(result.factor, target), result


def test_steps_jump_over_the_target() -> None:
    result = search(
        lambda size: 4.0 if size <= 30 else 2.0, setting="min_cluster_size", start=100, low=2, high=500, target=3.5
    )
    assert result.factor == 4.0 and 30 in result.tried and 31 in result.tried, "searched up to the step"
    assert "not reached within 3%" in result.note(3.5)


def test_the_ends_are_tried() -> None:
    result = search(lambda size: 1 + 1 / size, setting="min_cluster_size", start=50, low=2, high=500, target=9)
    assert (result.value, result.factor) == (2, 1.5) and min(result.tried) == 2
    result = search(lambda k: 1 + k / 100, setting="top_k", start=50, low=20, high=120, target=9)
    assert (result.value, result.factor) == (120, 2.2)
    assert SizeSearch.of(result.state) == result


# ---- the fit


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (6, {"min_cluster_size": 12}),
        (12, {"min_cluster_size": 35}),
        (12, {"min_cluster_size": 35, "min_samples": 5}),
        (12, {"min_cluster_size": 18, "top_k": 100, "target_setting": "top_k"}),
    ],
)
def test_a_planted_factor_is_reached(target: float, options: dict[str, Any]) -> None:
    site, tokens = planted()
    config = {"top_k": tokens.n, **options}
    method = methods.create("elude", **config, target_expansion=target).fit(tokens, site)
    factor = method.n_units / site.d_out
    assert abs(factor / target - 1) <= TOLERANCE
    result = method.size_search
    assert result.factor == factor and result.setting == options.get("target_setting", "min_cluster_size")
    assert method.notes[-1].startswith(f"{result.setting} = {result.value} gives an expansion factor of {factor:.3f}")
    # The fit is that with the found value, to the bit.
    config.pop("target_setting", None)
    assert same(method, methods.create("elude", **{**config, result.setting: result.value}).fit(tokens, site))


def test_a_factor_out_of_reach_gives_the_closest_and_says_so(tmp_path: Path) -> None:
    site, tokens = planted()
    method = methods.create("elude", top_k=tokens.n, min_cluster_size=30, min_samples=5, target_expansion=9).fit(
        tokens, site
    )
    tried = method.size_search.tried
    assert (
        method.n_units / site.d_out
        == method.size_search.factor
        == min(tried.values(), key=lambda f: abs(np.log(f / 9)))
    )
    assert not is_near(method.size_search.factor, 9)
    assert (
        f"The expansion factor 9 was not reached within 3%: min_cluster_size = {method.size_search.value}"
        in method.notes[-1]
    )
    loaded = methods.load(method.save(tmp_path / "method.safetensors"))
    assert loaded.size_search == method.size_search and loaded.notes == method.notes  # type: ignore[attr-defined]


def test_nothing_that_splits_is_an_error() -> None:
    q = torch.ones(40, 6) + 1e-3 * torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    site, tokens = MemorySite(torch.ones(3, 6), torch.zeros(3)), MemoryTokens(q, q @ torch.ones(6, 3))
    tokens.fields["input"][:] = 1.0
    with pytest.raises(UserError, match="no neuron splits with any min_cluster_size that was tried"):
        methods.create("elude", top_k=40, min_cluster_size=5, target_expansion=3).fit(tokens, site)


def test_an_interrupted_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = planted()
    config = {"top_k": tokens.n, "min_cluster_size": 35, "target_expansion": 12}
    whole = methods.create("elude", **config).fit(tokens, site)
    assert len(whole.size_search.tried) >= 2
    calls = 0
    count = site.d_out + 3  # within the second trial

    def stop(done: int, total: int, what: str) -> None:
        nonlocal calls
        calls += 1
        if calls > count + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        methods.create("elude", **config).fit(tokens, site, progress=stop, checkpoint_dir=tmp_path / "work")
    folders = sorted(folder.name for folder in (tmp_path / "work").iterdir())
    assert folders == sorted(f"min_cluster_size-{value}" for value in list(whole.size_search.tried)[:2])
    clustered = []
    original = ELUDe._clusters

    def counted(self: ELUDe, *args: Any) -> Any:
        clustered.append(args[1])
        return original(self, *args)

    monkeypatch.setattr(ELUDe, "_clusters", counted)
    again = methods.create("elude", **config).fit(tokens, site, checkpoint_dir=tmp_path / "work")
    assert same(whole, again) and again.size_search == whole.size_search
    assert 35 not in clustered and len(clustered) < len(whole.size_search.tried) * site.d_out - site.d_out
    assert not (tmp_path / "work").exists()


def test_a_rehearsal_of_few_neurons_tries_one_value() -> None:
    site, tokens = planted()
    with partial_fits(PartialFit(neurons=2, parts=3)):
        method = methods.create("elude", top_k=tokens.n, min_cluster_size=35, target_expansion=12).fit(tokens, site)
    assert list(method.size_search.tried) == [35] and torch.bincount(method.parent).tolist()[2:] == [3] * 6


def test_such_a_fit_is_not_divided(tmp_path: Path) -> None:
    site, tokens = planted()
    method = methods.create("elude", top_k=60, min_cluster_size=10, target_expansion=2)
    assert isinstance(method, ELUDe) and ELUDe.fit_items(method.config, site) == 1
    method.work_dir = tmp_path
    with pytest.raises(UserError, match="needs the sub-units of all neurons"):
        method.fit_part(tokens, site, range(2))


def test_settings_exclude_each_other_and_leave_earlier_ids_alone() -> None:
    assert set(methods.create("elude").config.model_dump()) & {"target_expansion", "target_setting"} == set()
    given_one = methods.create("elude", target_expansion=8).config.model_dump(mode="json")
    assert given_one["target_expansion"] == 8 and "target_setting" not in given_one
    with pytest.raises(UserError, match="has no effect without target_expansion"):
        methods.create("elude", target_setting="top_k")
    with pytest.raises(UserError, match="target_expansion"):
        methods.create("elude", target_expansion=1)


# ---- what is kept


def contributions(n: int = 300) -> torch.Tensor:
    centres = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))
    return centres[torch.arange(n) % 6] + 0.5 * torch.randn(n, 20, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("min_samples", [None, 7])
def test_clusters_from_what_is_kept_are_those_without_it(
    min_samples: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = contributions()
    products = trees = 0
    distances, tree = spanning_tree.squared_distances, spanning_tree.Forest.tree

    def counted_distances(*args: Any) -> Any:
        nonlocal products
        products += 1
        return distances(*args)

    def counted_tree(*args: Any) -> Any:
        nonlocal trees
        trees += 1
        return tree(*args)

    sizes = (30, 12, 5, 60)
    expected = [cluster(x, min_cluster_size=size, min_samples=min_samples) for size in sizes]
    monkeypatch.setattr(spanning_tree, "squared_distances", counted_distances)
    monkeypatch.setattr(spanning_tree.Forest, "tree", counted_tree)
    kept = KeptClustering(Budget(1 << 30), follows_size=min_samples is None)
    for size, clusters in zip(sizes, expected, strict=True):
        result = cluster(x, min_cluster_size=size, min_samples=min_samples, kept=kept)
        cluster(contributions(200), min_cluster_size=9)  # other points, in the same thread's matrix
        assert torch.equal(result.labels, clusters.labels)
        assert torch.equal(result.probabilities, clusters.probabilities)
    others = len(sizes)
    assert (products - others, trees - others) == (1, len(sizes) if min_samples is None else 1)


def test_without_a_budget_nothing_is_kept() -> None:
    budget = Budget(300 * 300 * 4 - 1)
    kept = KeptClustering(budget, follows_size=True)
    cluster(contributions(), min_cluster_size=10, kept=kept)
    assert kept.distances() is None and budget.take(300 * 300 * 4 - 1) and not budget.take(1)


def test_trials_of_a_fit_reuse_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    site, tokens = small_layer(d_out=6)
    products = 0
    distances = spanning_tree.squared_distances

    def counted(*args: Any) -> Any:
        nonlocal products
        products += 1
        return distances(*args)

    monkeypatch.setattr(spanning_tree, "squared_distances", counted)
    method = methods.create("elude", top_k=200, min_cluster_size=60, target_expansion=5).fit(tokens, site, workers=1)
    assert len(method.size_search.tried) > 1 and products == site.d_out
