"""Fits of a few neurons: those are the ones of a whole fit, the others are divided so that the sums stay exact."""

from __future__ import annotations

import torch
from in_memory import small_layer

import methods
from methods.elude.partial import PartialFit, partial_fit, partial_fits
from methods.tracing import Trace, tracing

SETTINGS = {"top_k": 120, "min_cluster_size": 15}


def test_the_first_neurons_are_split_as_in_a_whole_fit_and_the_others_into_as_many_parts_as_asked() -> None:
    site, tokens = small_layer(d_out=12)
    whole = methods.create("elude", **SETTINGS).fit(tokens, site)
    with partial_fits(PartialFit(3, 4)):
        partial = methods.create("elude", **SETTINGS).fit(tokens, site)
    assert partial_fit() is None
    parents = whole.parents, partial.parents
    assert parents[0] is not None and parents[1] is not None
    counts = [torch.bincount(each, minlength=12).tolist() for each in parents]
    assert counts[1] == counts[0][:3] + [4] * 9 and max(counts[0][:3]) > 1
    first = [atoms[each < 3] for each, atoms in zip(parents, (whole.weights, partial.weights), strict=True)]
    assert torch.equal(*first)
    # Lossless by construction, as every split: encode and decode give the layer's output.
    q = tokens.fields["input"]
    assert torch.allclose(partial.decode(partial.encode(q)), tokens.fields["output"], atol=1e-5)


def test_sub_units_of_the_others_share_the_inputs_and_sum_to_the_neuron() -> None:
    weight, bias = torch.arange(20.0).reshape(2, 10), torch.tensor([1.0, 2.0])
    parts = PartialFit(1, 3).others(weight, bias, finished=())
    assert list(parts) == [1]
    assert torch.equal(parts[1].weights.sum(0), weight[1]) and torch.isclose(parts[1].biases.sum(), bias[1])
    assert ((parts[1].weights != 0).sum(0) == 1).all()
    assert PartialFit(0, 99).others(weight, bias, finished=(0,))[1].weights.shape == (10, 10)


def test_distances_are_computed_in_tiles_and_sections_of_lanes_are_traced() -> None:
    site, tokens = small_layer(d_out=6)
    assert PartialFit(1, 1).distance_bytes(100_000, 1 << 40) == 2 * 100_000**2
    assert PartialFit(1, 1).distance_bytes(100_000, 1 << 20) == 1 << 20
    with tracing(Trace()) as trace:
        methods.create("elude", **SETTINGS).fit(tokens, site, workers=2)
    calls = {key.name: count for key, count in trace.calls.items()}
    assert calls["distances and spanning tree"] == calls["gathering of inputs"] == 6
