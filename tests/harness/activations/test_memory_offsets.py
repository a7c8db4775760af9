"""The same numbers give the same bits wherever in memory they lie: methods, metrics, and the network's passes.

A library that chooses its kernel by the alignment of its operands fails here (docs/reproducibility.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_backbones import PREPROCESSING
from torch import Tensor
from variants import built_in

import methods
from harness import backbones
from harness.activations.linear_site import LinearLayerSite
from harness.cells import evaluate as evaluation
from harness.check.methods import small_settings
from harness.check.world import CheckWorld, small_layer, small_world
from harness.metrics.base import METRICS, Batch

pytestmark = pytest.mark.run

#: Bytes between two offsets are those of one number: 16 of float32 pass through every alignment up to 64 bytes.
OFFSETS = range(16)


def moved(x: Tensor, offset: int) -> Tensor:
    """A copy of x, dense, ``offset`` numbers behind an aligned address."""
    return torch.empty(x.numel() + offset, dtype=x.dtype)[offset:].view(x.shape).copy_(x)


@pytest.mark.parametrize("name", built_in())
def test_codes_and_reconstructions(name: str) -> None:
    site, tokens = small_layer()
    cls = methods.METHODS.get(name)
    method = methods.create(name, **small_settings(cls)).fit(tokens, site, seed=1)
    for rows in (1, 33):
        x = tokens.fields[method.spec.reads][:rows]
        codes = method.encode(moved(x, 0))
        expected = method.reconstruct(moved(codes, 0), x)
        for offset in OFFSETS:
            assert torch.equal(method.encode(moved(x, offset)), codes), (rows, offset)
            assert torch.equal(method.reconstruct(moved(codes, offset), x), expected), (rows, offset)


@pytest.fixture(scope="module")
def world() -> Iterator[CheckWorld]:
    with small_world() as made:
        yield made


@pytest.mark.parametrize("name", ["identity", "random_split", "random_dictionary", "dnrwcv"])
def test_metrics(name: str, world: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every metric but those that measure time, each on the batches of one pass."""
    metrics = [METRICS.get(metric) for metric in METRICS.names() if not METRICS.get(metric).timed]
    found: list[dict[str, str]] = []
    for offset in OFFSETS:

        def batch(offset: int = offset, **fields: Tensor) -> Batch:
            return Batch(**{key: moved(value, offset) for key, value in fields.items()})

        monkeypatch.setattr(evaluation, "Batch", batch)
        measured = evaluation.evaluate(world.fitted[name], world.baseline, metrics)
        # As text, in which NaN is NaN.
        found.append({score.metric: f"{score.value!r} {score.uncertainty!r}" for score in measured.scores})
    assert {"ms_score", "l0"} <= set(found[0])
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("name", ["tiny_vit", "tiny_cnn", "efficientnet_lite0", "dinov2_small_saliency"])
def test_passes_of_the_network(name: str) -> None:
    backbone = backbones.load(name)
    site = LinearLayerSite(backbone.model, backbone.default_site, n_prefix_tokens=backbone.n_prefix_tokens)
    size = PREPROCESSING.size if name.startswith("tiny") else backbone.preprocessing.size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    found: list[Any] = []
    with torch.inference_mode():
        for offset in OFFSETS if name.startswith("tiny") else (0, 1, 6, 11):
            q, a = site.capture(backbone.features, moved(pixels, offset))
            found.append([q.clone(), a.clone(), backbone.features(moved(pixels, offset))])
    assert all(torch.equal(x, y) for one in found for x, y in zip(one, found[0], strict=True))
