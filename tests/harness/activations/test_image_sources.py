"""Probing images and embeddings for metrics: what is kept on disk, resumed passes, damage, and pooled codes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import backbones
from harness.activations import external_images, pooled_codes, probing_images
from harness.activations.external_images import ExternalImages, default_encoder
from harness.activations.pooled_codes import PooledCodes
from harness.activations.probing_images import ProbingImages
from harness.check.world import CheckWorld, drawn_network, small_world


@pytest.fixture(scope="module")
def world() -> Any:
    with small_world() as made:
        yield made


def source(world: CheckWorld, cache: Path) -> ProbingImages:
    assert world.baseline.probing is not None
    return probing_images.probing_images(world.baseline.passes, world.baseline.probing.images, cache)


def outputs(probing: ProbingImages) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    tokens = list(probing.tokens())
    return (
        np.concatenate([each.image.numpy() for each in tokens]),
        *(torch.cat([getattr(each, name) for each in tokens]) for name in ("q", "a")),
    )


def test_tokens_of_probing_images_are_those_of_the_network_and_the_second_pass_starts_from_states(
    world: CheckWorld, tmp_path: Path
) -> None:
    first = source(world, tmp_path)
    index, q, a = outputs(first)
    assert index.tolist() == list(range(len(first.images)))
    plain = dataclasses.replace(first.from_pixels, crops=None)
    direct = list(plain.tokens(index))
    torch.testing.assert_close(a, torch.cat([each.a for each in direct]))
    (folder,) = (tmp_path / "probing_images").iterdir()
    assert (folder / "states.f32").is_file()
    again = source(world, tmp_path)
    for mine, other in zip(outputs(again), (index, q, a), strict=True):
        assert np.array_equal(np.asarray(mine), np.asarray(other))
    # A damaged file is made again.
    (folder / "meta.json").write_text("{")
    assert torch.equal(outputs(source(world, tmp_path))[2], a)


def test_of_many_probing_images_a_sample_is_read(
    world: CheckWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = source(world, tmp_path).images
    monkeypatch.setattr(probing_images, "LIMIT", 8)
    some = source(world, tmp_path)
    assert len(some.images) == 8 and {r.name for r in some.images.records} < {r.name for r in every.records}
    assert outputs(some)[2].shape[0] == 8


def test_passes_over_some_images_start_from_stored_states(world: CheckWorld) -> None:
    passes = world.baseline.passes
    assert passes.states is not None
    every = torch.cat([passed.features for passed in passes.run(lambda q, a: None)])
    chosen = world.baseline.index[[1, 4, 5]]
    some = passes.of_images(chosen)
    assert some.states is not None
    passed = list(some.run(lambda q, a: None))
    assert torch.cat([each.image for each in passed]).tolist() == chosen.tolist()
    torch.testing.assert_close(torch.cat([each.features for each in passed]), every[[1, 4, 5]])
    twice = list(some.of_images(chosen[[0, 2]]).run(lambda q, a: None))
    torch.testing.assert_close(torch.cat([each.features for each in twice]), every[[1, 5]])
    without = dataclasses.replace(passes, states=None).of_images(chosen)
    torch.testing.assert_close(torch.cat([each.features for each in without.run(lambda q, a: None)]), every[[1, 4, 5]])


def test_embeddings_are_unit_vectors_of_the_encoder_and_kept(
    world: CheckWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, calls = drawn_network(5, 7), []
    monkeypatch.setattr(backbones, "load", lambda name, *, device: calls.append((name, device)) or encoder)
    images = world.baseline.images
    external = ExternalImages(images, "other", torch.device("cpu"), 4, tmp_path)
    embeddings = external.embeddings
    assert external.encoder == "other" and external.fingerprint == external.fingerprint
    assert calls == [("other", "cpu")] and embeddings.shape == (len(images), 7)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(len(images)))
    monkeypatch.setattr(external_images.ExternalImages, "_embed", lambda *args: pytest.fail("computed again"))
    assert torch.equal(ExternalImages(images, "other", torch.device("cpu"), 4, tmp_path).embeddings, embeddings)
    monkeypatch.undo()
    monkeypatch.setattr(backbones, "load", lambda name, *, device: encoder)
    (file,) = (tmp_path / "embeddings").iterdir()
    file.write_bytes(b"nothing")
    assert torch.equal(ExternalImages(images, "other", torch.device("cpu"), 4, tmp_path).embeddings, embeddings)


def test_the_default_encoder_is_of_another_family() -> None:
    assert default_encoder("dinov2_small_saliency") == "efficientnet_lite0"
    assert default_encoder("timm:efficientnet_b0") == "dinov2_small_saliency"
    assert {default_encoder("x"), default_encoder("efficientnet_lite0")} <= set(backbones.names())


def test_pooled_codes_are_those_of_labelled_images(world: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    images = world.baseline.images
    labels = images.labels.copy()
    records = tuple(
        record._replace(label=None if number == 2 else record.label) for number, record in enumerate(images.records)
    )
    some = dataclasses.replace(images, records=records)
    n = len(images)
    a = torch.randn(n, 3, 4, generator=torch.Generator().manual_seed(0))
    codes = 2 * a - 1

    def pooled(size: int) -> pooled_codes.LabelledCodes:
        collector = PooledCodes(some)
        for index in torch.arange(n).split(size):
            collector.update(index, codes[index], a[index])
        return collector.labelled()

    made = pooled(3)
    kept = [number for number in range(n) if number != 2 and labels[number] >= 0]
    assert made.image.tolist() == kept and made.labels.tolist() == labels[kept].tolist() and made.n_images == n
    assert torch.equal(made.codes, codes[kept].amax(1)) and torch.equal(made.layer, a[kept].amax(1))
    assert torch.equal(made.mean_codes, codes[kept].mean(1)) and torch.equal(made.mean_layer, a[kept].mean(1))
    assert all(torch.equal(getattr(made, name), getattr(pooled(n), name)) for name in ("image", "codes", "layer"))
    counted, positive = made.outcomes(torch.ones(len(kept), dtype=torch.bool))
    assert np.flatnonzero(counted).tolist() == np.flatnonzero(positive).tolist() == kept
    only = made.of_classes(torch.tensor([0]))
    assert set(only.labels.tolist()) == {0} and len(only.codes) == int((made.labels == 0).sum())
    monkeypatch.setattr(pooled_codes, "LIMIT", 6)
    assert len(pooled(n).image) == 6
