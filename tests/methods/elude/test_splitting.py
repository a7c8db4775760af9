"""ELUDe's splitting step: closed forms, a brute-force twin of eq. 3, and exact sums."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import MemorySite, MemoryTokens, small_layer
from torch import Tensor

import methods
from methods.elude import split
from methods.elude.contributions import Summary, as_they_are, normalise, summarise
from methods.elude.instances import top_instances, top_rows
from methods.elude.objectives import contrast
from methods.elude.splitting import MARGINS, winning_shares
from methods.errors import UserError


def brute_force_shares(scores: np.ndarray, rho: float) -> np.ndarray:
    """Eq. 3 and 4 as written: every proper subset of the sub-units is tried for every dimension."""
    n_subunits, width = scores.shape
    shares = np.full((n_subunits, width), 1 / n_subunits)
    for j in range(width):
        winners = [
            members
            for size in range(1, n_subunits)
            for members in itertools.combinations(range(n_subunits), size)
            if rho * min(scores[c, j] for c in members)
            > max(scores[c, j] for c in range(n_subunits) if c not in members)
        ]
        if len(winners) == 1:
            shares[:, j] = 0
            shares[list(winners[0]), j] = 1 / len(winners[0])
    return shares


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 5),
    st.integers(1, 6),
    st.sampled_from([0.05, 0.35, 0.5, 0.8, 1.0]),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_only_prefixes_can_win(n_subunits: int, width: int, rho: float, seed: int, coarse: bool) -> None:
    scores = np.random.default_rng(seed).random((n_subunits, width))
    if coarse:  # many ties and zeros
        scores = np.round(scores * 3) / 3
    found = winning_shares(torch.from_numpy(scores), rho).numpy()
    np.testing.assert_allclose(found, brute_force_shares(scores, rho))


@pytest.mark.parametrize("rule", ["unique", "first", "gap"])
def test_shares_sum_to_one(rule: str) -> None:
    scores = torch.rand(4, 50, generator=torch.Generator().manual_seed(0))
    for rho in (0.05, 0.5, 1.0):
        torch.testing.assert_close(winning_shares(scores, rho, rule).sum(0), torch.ones(50))


def test_winner_rules_differ_where_two_prefixes_qualify() -> None:
    scores = torch.tensor([[1.0], [0.4], [0.01]], dtype=torch.float64)
    assert winning_shares(scores, 0.5, "unique")[:, 0].tolist() == pytest.approx([1 / 3] * 3)
    assert winning_shares(scores, 0.5, "first")[:, 0].tolist() == [1, 0, 0]
    assert winning_shares(scores, 0.5, "gap")[:, 0].tolist() == [0.5, 0.5, 0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.03, 0.35, 0.5, 0.77, 1.0]), st.booleans())
def test_a_fixed_rho_gives_the_shares_of_eq_3_and_4(seed: int, rho: float, unit_length: bool) -> None:
    """The brute-force twin: every subset of the sub-units is tried, with representatives by definition (eq. 2)."""
    generator = torch.Generator().manual_seed(seed)
    contributions = torch.randn(40, 6, generator=generator)
    labels, probabilities = torch.arange(40) % 4 - 1, torch.rand(40, generator=generator)
    weight = torch.randn(6, generator=generator).double()
    found = split(weight, 0.5, contributions, labels, probabilities, margins=[rho], unit_length=unit_length)
    vectors = torch.nn.functional.normalize(contributions, dim=1) if unit_length else contributions
    sums = torch.stack([(probabilities[:, None] * vectors)[labels == k].double().sum(0) for k in range(3)])
    shares = brute_force_shares(torch.nn.functional.normalize(sums, dim=1).abs().numpy(), rho)
    np.testing.assert_allclose(found.shares, shares)
    np.testing.assert_allclose(found.weights, shares * weight.numpy(), atol=1e-12)
    assert found.rho == rho


def test_margins_are_tried_in_ascending_order_and_checked() -> None:
    generator = torch.Generator().manual_seed(4)
    contributions = torch.randn(60, 8, generator=generator)
    labels, ones = torch.arange(60) % 3, torch.ones(60)
    weight = torch.randn(8, generator=generator)
    whole = split(weight, 0.0, contributions, labels, ones)
    assert split(weight, 0.0, contributions, labels, ones, margins=[*MARGINS[::-1], whole.rho]).rho == whole.rho
    # Two margins with the same shares tie, and the smaller one is chosen.
    apart = torch.eye(2).repeat(20, 1)
    assert split(torch.ones(2), 0.0, apart, torch.arange(40) % 2, torch.ones(40), margins=[0.9, 0.4]).rho == 0.4
    for margins in ([], [0.0], [0.5, 1.2]):
        with pytest.raises(UserError, match=r"margins = .*at most 1"):
            split(weight, 0.0, contributions, labels, ones, margins=margins)


def test_settings_of_rho_reach_the_split() -> None:
    site, tokens = small_layer(n=600, d_in=30)
    sizes = {"top_k": 300, "min_cluster_size": 20}
    fixed = methods.create("elude", **sizes, rho=0.33).fit(tokens, site)
    chosen = fixed.margin[~fixed.margin.isnan()]
    assert len(chosen) and torch.equal(chosen, torch.full_like(chosen, 0.33))
    grid = methods.create("elude", **sizes, rho_grid=[0.9, 0.2]).fit(tokens, site)
    assert {round(float(rho), 6) for rho in grid.margin[~grid.margin.isnan()]} <= {0.2, 0.9}
    whole = methods.create("elude", **sizes).fit(tokens, site)
    assert torch.equal(whole.weights, methods.create("elude", **sizes, rho_grid=MARGINS).fit(tokens, site).weights)
    assert set(whole.config.model_dump()) & {"rho", "rho_grid", "normalise"} == set(), "earlier cells keep their ids"
    # The order changes no fit, so it is not part of the identity.
    assert grid.config.model_dump(mode="json")["rho_grid"] == [0.2, 0.9]
    assert grid.config == methods.create("elude", **sizes, rho_grid=[0.2, 0.9, 0.2]).config
    assert "rho_grid" not in methods.create("elude", **sizes, rho_grid=MARGINS[::-1]).config.model_dump()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rho": 0.5, "rho_grid": [0.5]}, "both set"),
        ({"rho_grid": []}, "at least 1"),
        ({"rho_grid": [0.0]}, "above 0"),
        ({"rho_grid": [0.5, 1.5]}, "at most 1"),
        ({"rho": 1.5}, "rho"),
    ],
)
def test_wrong_margins_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        methods.create("elude", **config)


def test_contributions_as_they_are_are_clustered_by_length() -> None:
    """Two groups of tokens with one direction and other lengths: they are one cluster only if lengths are removed."""
    generator = torch.Generator().manual_seed(0)
    q = torch.ones(91, 4) + 0.01 * torch.rand(91, 4, generator=generator)
    q[30:60] *= 5
    q[60:, 1:] = 0  # a third group, in a direction of its own
    q[90] = 0  # no contribution: noise, whether or not lengths are removed
    tokens, site = MemoryTokens(q, q @ torch.ones(4, 1)), MemorySite(torch.ones(1, 4), torch.zeros(1))
    config = {"top_k": 91, "min_cluster_size": 15, "cluster_selection_method": "eom"}
    for normalise_, count in ((True, 2), (False, 3)):
        method = methods.create("elude", **config, normalise=normalise_).fit(tokens, site)
        assert method.n_units == count and int(method.n_noise[0]) >= 1
    # Of raw contributions, the representative is their own mean: eq. 2 with c as it is.
    found = summarise(as_they_are(q), torch.arange(91) // 60 - 1, torch.ones(91), 1).representatives
    torch.testing.assert_close(found, torch.nn.functional.normalize(q[60:].double().sum(0, keepdim=True), dim=1))
    assert as_they_are(q).lengths.tolist() == [1.0] * 90 + [0.0]


def test_two_disjoint_clusters_are_taken_apart_completely() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    q = torch.zeros(20, 4)
    q[:10, :2], q[10:, 2:] = 1.0, 1.0
    labels = torch.tensor([0] * 10 + [1] * 10)
    found = split(weight, torch.tensor(2.0), q * weight, labels, torch.ones(20))
    assert found.shares.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert found.weights.tolist() == [[1, 2, 0, 0], [0, 0, 3, 4]]
    assert found.biases.tolist() == [1, 1]
    assert found.rho == 0.05


def test_fewer_than_two_clusters_leave_the_unit_as_it_is() -> None:
    weight = torch.randn(5, generator=torch.Generator().manual_seed(0))
    for labels in (torch.full((8,), -1), torch.zeros(8, dtype=torch.int64)):
        found = split(weight, 0.3, torch.ones(8, 5), labels, torch.ones(8))
        assert torch.equal(found.weights, weight[None]) and found.biases.tolist() == [pytest.approx(0.3)]
        assert np.isnan(found.rho) and found.shares.tolist() == [[1.0] * 5]


def summary_of(contributions: torch.Tensor, labels: torch.Tensor, probabilities: torch.Tensor, count: int) -> Summary:
    return summarise(normalise(contributions), labels, probabilities, count)


def test_representatives_weigh_directions_by_probability() -> None:
    contributions = torch.tensor([[2.0, 0.0], [0.0, 5.0], [7.0, 0.0]])
    labels, probabilities = torch.tensor([0, 0, 1]), torch.tensor([1.0, 0.5, 1.0])
    found = summary_of(contributions, labels, probabilities, 2).representatives.float()
    expected = torch.nn.functional.normalize(torch.tensor([[1.0, 0.5], [1.0, 0.0]]), dim=1)
    torch.testing.assert_close(found, expected)


def test_noise_and_zero_vectors_have_no_say() -> None:
    contributions = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 9.0], [0.0, 1.0]])
    labels = torch.tensor([0, 0, -1, 1])
    found = summary_of(contributions, labels, torch.ones(4), 2)
    assert torch.isfinite(found.representatives).all()
    assert found.means.tolist() == [[0.5, 0.0], [0.0, 1.0]]


def test_contrast_by_hand() -> None:
    assert float(contrast(torch.tensor([[3.0, 1.0], [0.0, 2.0]]))) == pytest.approx((2 + 2) / 2)


def test_the_margin_is_the_one_a_pass_over_the_data_would_choose() -> None:
    generator = torch.Generator().manual_seed(3)
    contributions = torch.rand(90, 12, generator=generator)
    labels = torch.arange(90) % 3
    for cluster in range(3):
        contributions[labels == cluster, cluster * 4 : cluster * 4 + 4] += torch.rand(4, generator=generator)
    weight, bias = torch.rand(12, generator=generator) + 0.5, torch.tensor(0.7)
    found = split(weight, bias, contributions, labels, torch.ones(90))
    scores = {}
    for step in range(1, 21):
        summary = summary_of(contributions, labels, torch.ones(90), 3)
        shares = winning_shares(summary.representatives.abs(), step / 20)
        activations = contributions.double() @ shares.T + shares.mean(1) * bias
        means = torch.stack([activations[labels == k].mean(0) for k in range(3)], 1)
        scores[step / 20] = float(contrast(means))
    best = max(scores.values())
    assert found.rho == min(rho for rho, value in scores.items() if value > best - 1e-12)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_elude_is_lossless(dtype: torch.dtype, bound: float) -> None:
    site, tokens = small_layer(n=600, d_in=30, dtype=dtype)
    method = methods.create("elude", top_k=300, min_cluster_size=20).fit(tokens, site)
    assert method.n_units > site.d_out, "nothing was split: the test shows nothing"
    a, a_hat = tokens.fields["output"], method.decode(method.encode(tokens.fields["input"]))
    assert float((a - a_hat).abs().max() / a.abs().max()) < bound
    sums = torch.zeros_like(site.weight).index_add_(0, method.parent, method.weights)
    assert float((sums - site.weight).abs().max()) < bound


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_sum_exactly_in_their_own_arithmetic(dtype: torch.dtype) -> None:
    site, tokens = small_layer(n=600, d_in=64, d_out=24, dtype=dtype)
    tokens.fields = {name: rows.float() for name, rows in tokens.fields.items()}
    method = methods.create("elude", top_k=300, min_cluster_size=5).fit(tokens, site)
    assert method.weights.dtype == dtype and int(torch.bincount(method.parent).max()) >= 3
    for unit in range(site.d_out):
        own, biases = method.weights[method.parent == unit], method.biases[method.parent == unit]
        total, bias = torch.zeros_like(own[0]), torch.zeros_like(biases[0])
        for weights, one in zip(own, biases, strict=True):
            total, bias = total + weights, bias + one
        assert torch.equal(total, site.weight[unit])
        # Shares of a bias are any numbers: their rounded sum may miss by a rounding of its own.
        assert abs(float(bias - site.bias[unit])) <= 2 * torch.finfo(dtype).eps * float(site.bias[unit].abs())


def test_elude_finds_the_planted_groups() -> None:
    site, tokens = small_layer(n=600, d_in=30)
    method = methods.create("elude", top_k=600, min_cluster_size=50).fit(tokens, site)
    assert method.n_units == 3 * site.d_out
    codes = method.encode(tokens.fields["input"])
    group = torch.arange(600) % 3
    for unit in range(site.d_out):
        own = codes[:, method.parent == unit].argmax(1)
        pairs = {(int(g), int(c)) for g, c in zip(group, own, strict=True)}
        assert len(pairs) == 3, "each planted group drives one sub-unit most"


def test_elude_does_not_depend_on_the_seed() -> None:
    site, tokens = small_layer()
    fits = [methods.create("elude", top_k=120, min_cluster_size=15).fit(tokens, site, seed=s) for s in (1, 2)]
    assert torch.equal(fits[0].weights, fits[1].weights)


def test_top_rows_take_the_lower_of_equal_values() -> None:
    values = np.array([1.0, 3.0, 2.0, 3.0, 2.0, 2.0], dtype=np.float32)
    assert top_rows(values, 4).tolist() == [1, 2, 3, 4]
    assert top_rows(values, 9).tolist() == list(range(6))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 40))
def test_top_rows_equal_a_stable_sort(values: list[int], top_k: int) -> None:
    array = np.array(values, dtype=np.float32)
    expected = sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:top_k])
    assert top_rows(array, min(top_k, len(values))).tolist() == expected


def test_instances_do_not_depend_on_the_block_size() -> None:
    _, tokens = small_layer()
    whole = dict(top_instances(tokens, 30))
    blocks = dict(top_instances(tokens, 30, memory_bytes=4 * tokens.n * 2))
    assert list(whole) == list(blocks)
    assert all(np.array_equal(whole[unit], blocks[unit]) for unit in whole)


def test_bad_input_is_named() -> None:
    ones = torch.ones(4)
    with pytest.raises(UserError, match="winner_rule = 'best'"):
        split(ones, 0.0, torch.ones(3, 4), torch.zeros(3, dtype=torch.int64), torch.ones(3), winner_rule="best")
    with pytest.raises(UserError, match="contributions"):
        split(ones, 0.0, torch.ones(3, 5), torch.zeros(3, dtype=torch.int64), torch.ones(3))
    with pytest.raises(UserError, match="one for each contribution"):
        split(ones, 0.0, torch.ones(3, 4), torch.zeros(2, dtype=torch.int64), torch.ones(2))
    site, tokens = small_layer()
    with pytest.raises(UserError, match="240 tokens"):
        methods.create("elude", top_k=1000, min_cluster_size=15).fit(tokens, site)


def test_invalid_arguments_are_refused() -> None:
    """Each of them gave a split: of NaN, of clusters without members, or of weights cut to whole numbers."""
    generator = torch.Generator().manual_seed(0)
    weight, labels = torch.randn(5, generator=generator), (torch.arange(40) >= 20).long()
    good: dict[str, Any] = {
        "weight_u": weight,
        "bias_u": 0.5,
        "contributions": torch.randn(40, 5, generator=generator) * weight,
        "labels": labels,
        "probabilities": torch.ones(40),
    }

    def poked(name: str, value: float) -> Tensor:
        values = good[name].clone() if name != "labels" else good[name].double()
        values[3] = value
        return values

    nan = float("nan")
    wrong: list[tuple[str, Any, str]] = [
        ("weight_u", poked("weight_u", nan), "without NaN"),
        ("bias_u", nan, "without NaN"),
        ("bias_u", torch.ones(2), "one number"),
        ("contributions", poked("contributions", nan), "without NaN"),
        ("contributions", poked("contributions", float("inf")), "without NaN"),
        ("contributions", good["contributions"].numpy(), "ndarray"),
        ("labels", poked("labels", -5), r"labels are -5, 0, 1"),
        ("labels", 2 * labels, r"labels are 0, 2; they must be 0 \.\. K-1 without a gap"),
        ("labels", poked("labels", 10**9), "without a gap"),
        ("labels", poked("labels", nan), "whole numbers"),
        ("labels", labels + 0.5, "whole numbers"),
        ("probabilities", poked("probabilities", nan), "without NaN"),
        ("probabilities", poked("probabilities", -1), r"between -1.0 and 1.0"),
        ("weight_u", (10 * weight).int(), "floating-point"),
    ]
    for name, value, sentence in wrong:
        with pytest.raises(ValueError, match=sentence):
            split(**{**good, name: value})
    expected = split(**good)
    for name, value in (("labels", labels.double()), ("labels", labels.bool()), ("bias_u", torch.tensor([0.5]))):
        assert torch.equal(split(**{**good, name: value}).weights, expected.weights)
