"""Token sets: sampling, shards, reuse, and what interruptions and damage do."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import backbones, datasets
from harness.activations import collect as probing
from harness.activations import token_set as tokens
from harness.activations.collect import collect
from harness.activations.linear_site import LinearLayerSite
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.datasets.base import ImageSet
from harness.errors import UserError


def plan(seed: int = 1, *, crops: int = 2, per_image: int | None = 5, dtype: str = "float32") -> ProbingPlan:
    return ProbingPlan(crops=crops, tokens_per_image=per_image, dtype=dtype, seed=seed)


@pytest.fixture(scope="module")
def vit() -> backbones.base.Backbone:
    return backbones.load("tiny_vit")


@pytest.fixture(scope="module")
def site(vit: backbones.base.Backbone) -> Site:
    return LinearLayerSite(vit.model, "blocks.1.mlp.fc2", n_prefix_tokens=1)


@pytest.fixture(scope="module")
def images(photo_folder: Path) -> ImageSet:
    return datasets.load(f"folder:{photo_folder}")


def test_q_and_a_belong_together_and_places_are_known(vit, site, images, tmp_path: Path) -> None:
    [found] = collect(vit, site, images, [plan(per_image=None, crops=0)], tmp_path)
    assert found.n == 48 * 17
    q, a = found.gather("input", np.arange(found.n)), found.gather("output", np.arange(found.n))
    torch.testing.assert_close(q @ site.weight.T + site.bias, a, rtol=1e-4, atol=1e-4)
    assert found.position[:17].tolist() == [-1, *range(16)]
    assert found.image.tolist() == np.repeat(np.arange(48), 17).tolist()
    assert found.label.tolist() == images.labels[found.image].tolist()
    # An image on its own gives the same tokens as in a batch.
    alone = site.capture(vit.features, vit.preprocessing.center(images.open(7))[None])
    torch.testing.assert_close(alone.a[0], a[7 * 17 : 8 * 17], rtol=1e-4, atol=1e-4)


def test_sampling_is_without_replacement_and_seeded(vit, site, images, tmp_path: Path) -> None:
    one, two = collect(vit, site, images, [plan(1), plan(2)], tmp_path / "a")
    assert one.n == two.n == 48 * 2 * 5
    places = one.position.reshape(48 * 2, 5)
    assert all(len(set(row)) == 5 for row in places.tolist())
    assert not np.array_equal(one.position, two.position)
    [again] = collect(vit, site, images, [plan(1)], tmp_path / "b")
    assert np.array_equal(again.position, one.position)
    assert torch.equal(again.gather("output", np.arange(one.n)), one.gather("output", np.arange(one.n)))
    assert again.fingerprint == one.fingerprint != two.fingerprint


def test_batch_size_does_not_matter(vit, site, images, tmp_path: Path) -> None:
    [one] = collect(vit, site, images, [plan()], tmp_path / "a", batch_size=4)
    [two] = collect(vit, site, images, [plan()], tmp_path / "b", batch_size=32)
    assert np.array_equal(one.position, two.position) and np.array_equal(one.image, two.image)
    rows = np.arange(one.n)
    torch.testing.assert_close(one.gather("input", rows), two.gather("input", rows), rtol=1e-4, atol=1e-4)


def test_all_tokens_are_sampled_equally_often() -> None:
    counts = torch.zeros(10)
    for seed in range(4000):
        counts[tokens.sample(10, 3, torch.Generator().manual_seed(seed))] += 1
    assert float((counts / 4000 - 0.3).abs().max()) < 0.03


@pytest.mark.parametrize("per_image", [None, 5, 9])
def test_all_tokens_are_kept_in_order_without_a_draw(per_image: int | None) -> None:
    """An image that is kept whole does not change the draws of the images after it."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert tokens.sample(5, per_image, generator).tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(generator.get_state(), before)


def test_room_is_checked_in_a_cache_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    cache = tmp_path / "a" / "b" / "cache"
    tokens.check_disk(cache, 10, [3, 2], "float32")
    assert cache.is_dir()
    with pytest.raises(UserError, match=r"20\.0 TiB as float16"):
        tokens.check_disk(cache, 2**41, [3, 2], "float16")


def test_a_finished_set_is_reused_and_a_damaged_one_made_again(vit, site, images, tmp_path: Path) -> None:
    [first] = collect(vit, site, images, [plan()], tmp_path)
    stamp = (first.folder / "meta.json").stat().st_mtime_ns
    [again] = collect(vit, site, images, [plan()], tmp_path)
    assert (again.folder / "meta.json").stat().st_mtime_ns == stamp
    (first.folder / "output-00000.npy").write_bytes(b"damaged")
    [mended] = collect(vit, site, images, [plan()], tmp_path)
    assert mended.gather("output", np.arange(3)).shape == (3, 24)


def test_an_interrupted_set_leaves_nothing_behind(vit, site, images, tmp_path: Path) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(vit, site, images, [plan()], tmp_path, batch_size=8, progress=interrupt)
    assert list((tmp_path / "tokens").iterdir()) == []


def test_shards_hold_the_same_rows_as_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "SHARD_ROWS", 10)
    writer = tokens.TokenWriter(tmp_path / "x")
    rows = torch.arange(37.0)[:, None] * torch.ones(1, 3)
    for start in range(0, 37, 9):
        part = rows[start : start + 9]
        index = np.arange(start, start + len(part))
        writer.add(index, index, index % 2, input=part, output=part[:, :2])
    found = writer.finish()
    assert found.meta["shards"] == [10, 10, 10, 7]
    mixed = np.array([36, 0, 10, 9, 19, 36])
    assert found.gather("input", mixed)[:, 0].tolist() == mixed.tolist()
    assert torch.cat(list(found.batches("output", 8)))[:, 1].tolist() == list(range(37))
    assert found.columns("input", 1, 3).shape == (37, 2)
    assert found.columns("input", 1, 3)[:, 0].tolist() == list(range(37))
    assert found.image.tolist() == list(range(37))


@pytest.mark.parametrize("n", [1, 9, 23])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_file_that_grows_is_that_of_numpy(tmp_path: Path, n: int, dtype: str) -> None:
    rows = np.random.default_rng(0).normal(size=(n, 7)).astype(dtype)
    file = tokens.ShardFile(tmp_path / "grown.npy", 7, np.dtype(dtype))
    for start in range(0, n, 4):
        file.add(rows[start : start + 4])
    file.close()
    np.save(tmp_path / "saved.npy", rows)
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: tokens.ShardFile, rows: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tokens.ShardFile, "add", full)
    writer = tokens.TokenWriter(tmp_path / "x")
    with pytest.raises(OSError, match="No space"):
        writer.add(np.arange(2), np.arange(2), np.arange(2), output=torch.zeros(2, 3))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_float16_halves_the_disk_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    index = np.arange(2)
    writer = tokens.TokenWriter(tmp_path / "half", dtype="float16")
    writer.add(index, index, index, output=torch.tensor([[1.0], [2.0]]))
    found = writer.finish()
    assert np.load(found.folder / "output-00000.npy").dtype == np.float16
    assert found.gather("output", index).dtype == torch.float32
    writer = tokens.TokenWriter(tmp_path / "overflow", dtype="float16")
    with pytest.raises(UserError, match='dtype = "float32"'):
        writer.add(index, index, index, output=torch.tensor([[1.0], [1e6]]))


def test_broken_images_are_left_out(vit, site, images, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for name in ("a", "b"):
        (broken / name).mkdir(parents=True)
        for number in range(3):
            images.open(number).save(broken / name / f"{number}.png")
    (broken / "a" / "1.png").write_bytes(b"no picture")
    report = datasets.BrokenReport()
    [found] = collect(vit, site, datasets.load(f"folder:{broken}"), [plan(crops=0)], tmp_path / "cache", report=report)
    assert list(report) == ["a/1.png"]
    assert sorted(set(found.image.tolist())) == [0, 2, 3, 4, 5]


def test_the_fingerprint_follows_everything_that_matters(vit, site, images) -> None:
    base = probing.fingerprint(vit, site, images, plan())
    others = [
        probing.fingerprint(vit, site, images, plan(seed=2)),
        probing.fingerprint(vit, site, images, plan(crops=3)),
        probing.fingerprint(vit, site, images, plan(per_image=6)),
        probing.fingerprint(vit, site, images, plan(dtype="float16")),
        probing.fingerprint(vit, site, images.subset(range(40)), plan()),
        probing.fingerprint(vit, LinearLayerSite(vit.model, "blocks.2.mlp.fc2", n_prefix_tokens=1), images, plan()),
        probing.fingerprint(backbones.load("tiny_cnn"), site, images, plan()),
    ]
    assert len({base, *others}) == len(others) + 1
