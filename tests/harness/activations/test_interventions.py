"""Interventions: the identity without an edit, brute force with one, exact for splits, and refusals."""

from __future__ import annotations

import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer
from torch import Tensor

import methods
from harness.activations.interventions import Edit, edit_of, intervened
from harness.errors import UserError
from methods.additive import AdditiveSplit
from methods.base import Method
from methods.disentangled import DisentangledLinear

POSITIONS = torch.tensor([-1, 0, 1, 2, 3])
SETTINGS: dict[str, dict[str, object]] = {
    "identity": {},
    "random_split": {"parts": 3},
    "elude": {"top_k": 60, "min_cluster_size": 10},
    "topk_sae": {"expansion_factor": 4, "k": 5, "epochs": 2, "batch_size": 64},
    "matching_pursuit_sae": {"expansion_factor": 4, "k": 4, "epochs": 1, "batch_size": 64},
    "skip_transcoder": {"expansion_factor": 4, "k": 4, "epochs": 1, "batch_size": 64},
    "pca": {},
}


@pytest.fixture(scope="module")
def layer() -> tuple[MemorySite, MemoryTokens, Tensor, Tensor]:
    site, tokens = small_layer(n=240, d_in=16, d_out=6)
    q = tokens.fields["input"][:40].unflatten(0, (8, 5))
    return site, tokens, q, tokens.fields["output"][:40].unflatten(0, (8, 5))


@pytest.fixture(scope="module", params=SETTINGS)
def fitted(request: pytest.FixtureRequest, layer: tuple[MemorySite, MemoryTokens, Tensor, Tensor]) -> Method:
    site, tokens, *_ = layer
    return methods.create(request.param, **SETTINGS[request.param]).fit(tokens, site, seed=1)


Layer = tuple[MemorySite, MemoryTokens, Tensor, Tensor]


def test_an_edit_of_nothing_and_factors_of_one_change_no_bit(fitted: Method, layer: Layer) -> None:
    *_, q, a = layer
    assert intervened(fitted, edit_of([], [], alpha=5, gamma=-50, patches=None), q, a, POSITIONS).output is a
    ones = edit_of([0, 3], [1], alpha=1, gamma=1, patches=2)
    assert torch.equal(intervened(fitted, ones, q, a, POSITIONS).output, a)
    no_tokens = edit_of([0, 3], [1], alpha=5, gamma=-50, patches=0)
    assert torch.equal(intervened(fitted, no_tokens, q, a, POSITIONS).output, a)


@pytest.mark.parametrize(("patches", "prefix"), [(1, False), (2, True), (None, False), (None, True)])
def test_it_is_what_editing_the_codes_token_by_token_gives(
    fitted: Method, layer: Layer, patches: int | None, prefix: bool
) -> None:
    *_, q, a = layer
    x = q if fitted.spec.reads == "input" else a
    factors = {0: 4.0, 2: -3.0, 5: 0.0}
    edit = Edit(torch.tensor(list(factors)), torch.tensor(list(factors.values())), patches, prefix)
    done = intervened(fitted, edit, q, a, POSITIONS)
    for image in range(len(x)):
        codes = fitted.encode(x[image].clone())
        after = codes.clone()
        for unit, factor in factors.items():
            tokens = [t for t in range(5) if prefix or POSITIONS[t] >= 0]
            tokens.sort(key=lambda t: -float(codes[t, unit]))
            for token in tokens[:patches]:
                after[token, unit] *= factor
        change = fitted.reconstruct(after, x[image]) - fitted.reconstruct(codes, x[image])
        torch.testing.assert_close(done.output[image], a[image] + change, rtol=1e-4, atol=1e-4)
    n_tokens = min(5 if prefix else 4, 5 if patches is None else patches)
    assert done.touched.sum(1).unique().tolist() == [n_tokens]
    assert prefix or not done.touched[:, 0].any()
    untouched = ~done.touched.any(-1)
    assert torch.equal(done.output[untouched], a[untouched])


def test_a_split_is_edited_as_the_layer_in_the_model_is(layer: Layer) -> None:
    site, tokens, q, a = layer
    split = methods.create("random_split", parts=3).fit(tokens, site, seed=1)
    assert isinstance(split, AdditiveSplit)
    linear = torch.nn.Linear(16, 6)
    with torch.no_grad():
        linear.weight.copy_(site.weight)
        linear.bias.copy_(site.bias)
    replaced = DisentangledLinear.from_split(linear, split)
    replaced.edit_patches([2, 4], scale=5.0, patches=2, prefix_tokens=1)
    replaced.edit_patches([7], scale=-50.0, patches=2, prefix_tokens=1)
    edit = edit_of([2, 4], [7], alpha=5, gamma=-50, patches=2)
    torch.testing.assert_close(intervened(split, edit, q, a, POSITIONS).output, replaced(q), rtol=1e-5, atol=1e-5)


def test_a_unit_of_both_sets_is_amplified() -> None:
    edit = edit_of([3, 1], [1, 2], alpha=5, gamma=-50, patches=7)
    assert edit.units.tolist() == [1, 2, 3] and edit.factors.tolist() == [5, -50, 5] and edit.patches == 7


def test_what_cannot_be_edited_is_refused(layer: Layer) -> None:
    site, tokens, q, a = layer
    with pytest.raises(UserError, match="alpha = nan"):
        edit_of([1], [], alpha=float("nan"), gamma=0, patches=None)
    pca = methods.create("pca").fit(tokens, site)
    with pytest.raises(UserError, match="pca has no unit 99: it has 6"):
        intervened(pca, edit_of([99], [], alpha=2, gamma=0, patches=None), q, a, POSITIONS)
    with pytest.raises(UserError, match="pca has no unit -1"):
        intervened(pca, edit_of([-1], [], alpha=2, gamma=0, patches=None), q, a, POSITIONS)
    virtual = methods.create("dnrwcv")
    assert virtual.spec.virtual
    with pytest.raises(UserError, match="dnrwcv cannot be steered: its units are virtual"):
        intervened(virtual, edit_of([], [], alpha=2, gamma=0, patches=None), q, a, POSITIONS)


def test_an_edit_that_overflows_is_refused(layer: Layer) -> None:
    site, tokens, q, a = layer
    pca = methods.create("pca").fit(tokens, site)
    edit = edit_of([0], [], alpha=1e6, gamma=0, patches=None)
    with pytest.raises(UserError, match="NaN or infinity"):
        intervened(pca, edit, q * 1e33, a * 1e33, POSITIONS)
    with pytest.raises(UserError, match="between -1e6 and 1e6"):
        edit_of([0], [], alpha=1e38, gamma=0, patches=None)


def test_a_layer_without_patches_is_refused(layer: Layer) -> None:
    site, tokens, q, a = layer
    pca = methods.create("pca").fit(tokens, site)
    edit = edit_of([0], [], alpha=2, gamma=0, patches=None)
    with pytest.raises(UserError, match="has no patches to edit"):
        intervened(pca, edit, q, a, torch.full((5,), -1))
    assert not torch.equal(intervened(pca, edit._replace(prefix=True), q, a, torch.full((5,), -1)).output, a)
