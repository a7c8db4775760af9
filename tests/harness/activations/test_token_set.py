"""Token sets: sampling, parts, reuse, and what interruptions and damage do."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import backbones, datasets
from harness.activations import collect as probing
from harness.activations import token_set, token_writer
from harness.activations.cached import DAMAGE, read_cached
from harness.activations.collect import collect
from harness.activations.linear_site import LinearLayerSite
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.activations.token_set import TokenSet, check_disk, sample
from harness.activations.token_writer import PartFile, TokenWriter
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
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
        counts[sample(10, 3, torch.Generator().manual_seed(seed))] += 1
    assert float((counts / 4000 - 0.3).abs().max()) < 0.03


@pytest.mark.parametrize("per_image", [None, 5, 9])
def test_all_tokens_are_kept_in_order_without_a_draw(per_image: int | None) -> None:
    """An image that is kept whole does not change the draws of the images after it."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert sample(5, per_image, generator).tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(generator.get_state(), before)


def test_room_is_checked_in_a_cache_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    cache = tmp_path / "a" / "b" / "cache"
    check_disk(cache, 10, [3, 2], "float32")
    assert cache.is_dir()
    with pytest.raises(UserError, match=r"20\.0 TiB as float16"):
        check_disk(cache, 2**41, [3, 2], "float16")


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


def numbered(target: Path, n: int, *, at_once: int = 9, expected: int | None = None) -> TokenSet:
    """Write rows that are their numbers, some at once."""
    writer = TokenWriter(target, expected=expected)
    rows = torch.arange(float(n))[:, None] * torch.ones(1, 3)
    for start in range(0, n, at_once):
        part = rows[start : start + at_once]
        index = np.arange(start, start + len(part))
        writer.add(index, index, index % 2, input=part, output=part[:, :2])
    return writer.finish()


def require_numbered(tokens: TokenSet, n: int) -> None:
    """Check that the rows of a set are their numbers, however they are read."""
    tokens.check()
    every, mixed = list(range(n)), np.array([36, 0, 10, 9, 19, 36])
    assert tokens.gather("input", mixed)[:, 0].tolist() == mixed.tolist()
    assert tokens.gather("output", np.arange(0)).shape == (0, 2)
    assert torch.cat(list(tokens.batches("output", 8)))[:, 1].tolist() == every
    assert tokens.columns("input", 1, 3).shape == (n, 2)
    assert tokens.columns("input", 1, 3)[:, 0].tolist() == every
    for start, stop in ((0, n), (0, 1), (n - 1, n), (3, 31), (9, 21), (5, 5)):
        assert tokens.stored("input", start, stop)[:, 0].tolist() == every[start:stop]
    assert tokens.stored_at("output", np.arange(2, n, 3))[:, 0].tolist() == every[2::3]
    assert tokens.image.tolist() == tokens.position.tolist() == every


def test_parts_hold_the_same_rows_as_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_set, "PART_ROWS", 10)
    consecutive = numbered(tmp_path / "consecutive", 37)
    assert consecutive.meta["parts"] == [10, 10, 10, 7] and consecutive.random_parts is None
    require_numbered(consecutive, 37)
    scattered = numbered(tmp_path / "scattered", 37, expected=37)
    assert sum(scattered.meta["parts"]) == 37 and len(scattered.meta["parts"]) == 4
    require_numbered(scattered, 37)
    assert scattered.random_parts is not None
    assert sorted(np.concatenate(scattered.random_parts).tolist()) == list(range(37))


def test_the_parts_of_rows_do_not_depend_on_how_they_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_set, "PART_ROWS", 50)
    whole = numbered(tmp_path / "a", 200, at_once=200, expected=200)
    for at_once, buffer in ((7, 1 << 20), (7, 1), (40, 1000)):
        monkeypatch.setattr(token_writer, "BUFFER_BYTES", buffer)
        target = tmp_path / f"{at_once}-{buffer}"
        numbered(target, 200, at_once=at_once, expected=200)
        for file in whole.folder.glob("*.npy"):
            assert (target / file.name).read_bytes() == file.read_bytes()
    # A part has its share of every stretch of rows: 5000 rows in ten parts, of which a tenth lie in the first 500.
    monkeypatch.setattr(token_set, "PART_ROWS", 500)
    parts = numbered(tmp_path / "large", 5000, at_once=64, expected=5000).random_parts
    assert parts is not None and len(parts) == 10
    assert all(430 < len(part) < 570 and 20 < int((part < 500).sum()) < 85 for part in parts)


def test_a_set_may_have_fewer_or_more_rows_than_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that cannot be read lack their rows; with few rows left, some parts are empty and are left out."""
    monkeypatch.setattr(token_set, "PART_ROWS", 10)
    for expected in (0, 5, 90, 5000):
        tokens = numbered(tmp_path / str(expected), 40, expected=expected)
        require_numbered(tokens, 40)
        assert len(tokens.meta["parts"]) == len(list(tokens.folder.glob("input-*.npy"))) <= 40


def test_sets_of_the_first_format_are_read(tmp_path: Path) -> None:
    """Shards of consecutive rows, and an index that does not say which row lies where."""
    rows = np.arange(37.0, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    for number, start in enumerate(range(0, 37, 10)):
        np.save(tmp_path / f"input-{number:05d}.npy", rows[start : start + 10])
        np.save(tmp_path / f"output-{number:05d}.npy", rows[start : start + 10, :2])
    index = np.arange(37)
    np.savez(tmp_path / "index.npz", image=index, position=index.astype(np.int32), label=index % 2)
    meta = {
        "format": 1, "fingerprint": "x", "dtype": "float32", "description": {}, "shards": [10, 10, 10, 7],
        "widths": {"input": 3, "output": 2}, "skipped": {},
    }  # fmt: skip
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    tokens = TokenSet(tmp_path)
    require_numbered(tokens, 37)
    assert tokens.random_parts is None


@pytest.mark.parametrize("part", [[0] * 20, [0] * 19 + [7], [0, 1] * 9, [0.0, 1.0] * 10])
def test_an_index_that_contradicts_the_files_is_damage(tmp_path: Path, part: list[Any]) -> None:
    tokens = numbered(tmp_path / "set", 20, expected=20)
    with np.load(tokens.folder / "index.npz") as index:
        arrays = dict(index)
    kept = arrays["part"].copy()
    for wrong in (np.array(part), np.array(part, dtype=np.uint32)):
        np.savez(tokens.folder / "index.npz", **{**arrays, "part": wrong})
        if np.array_equal(wrong, kept) and wrong.dtype == kept.dtype:
            continue
        with pytest.raises(DAMAGE):
            TokenSet(tokens.folder).check()


def rewritten(tokens: TokenSet, **changes: Any) -> Path:
    """The folder of a set whose ``meta.json`` has other values; None removes one."""
    meta = {name: value for name, value in (tokens.meta | changes).items() if value is not None}
    (tokens.folder / "meta.json").write_text(json.dumps(meta))
    return tokens.folder


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 3}, "`format` is 3; this version of the harness reads 1 and 2"),
        ({"format": True}, "`format` is True"),
        ({"format": None}, "KeyError: 'format'"),
        ({"scattered": "yes"}, "`scattered` is 'yes'; it must be true or false"),
        ({"scattered": 1}, "`scattered` is 1"),
        ({"parts": None}, "KeyError: 'parts'"),
    ],
)
def test_a_wrong_description_is_one_sentence(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    folder = rewritten(numbered(tmp_path / "set", 20, expected=20), **changes)
    with pytest.raises(UserError, match="delete the folder and collect the tokens again") as refused:
        TokenSet(folder)
    assert why in str(refused.value) and repr(str(folder)) in str(refused.value)
    assert isinstance(refused.value, DAMAGE)


def _without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _index(**changes: np.ndarray) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        with np.load(folder / "index.npz") as index:
            arrays = dict(index)
        np.savez(folder / "index.npz", **(arrays | changes))

    return write


def _truncated(folder: Path) -> None:
    file = folder / "input-00000.npy"
    file.write_bytes(file.read_bytes()[:-5])


def _other_type(folder: Path) -> None:
    np.save(folder / "input-00000.npy", np.load(folder / "input-00000.npy").astype(np.float64))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_without("meta.json"), "lacks the file 'meta.json'"),
        (lambda folder: (folder / "meta.json").write_text("{"), "JSONDecodeError"),
        (_without("output-00000.npy"), "lacks the file 'output-00000.npy'"),
        (_truncated, "mmap length"),
        (_other_type, "part 0 of input is float64, not float32"),
        (_index(label=np.arange(10)), "'label' of the index has the shape (10,), not (20,)"),
        (_index(view=np.arange(10)), "'view' of the index has the shape (10,), not (20,)"),
        (lambda folder: (folder / "index.npz").write_bytes(b"PK"), "is damaged"),
    ],
)
def test_damage_is_one_sentence_and_the_run_makes_the_set_again(
    tmp_path: Path, images, damage: Callable[[Path], object], why: str
) -> None:
    folder = numbered(tmp_path / "set", 20).folder
    damage(folder)

    def read(path: Path) -> tuple[TokenSet, dict[str, str]]:
        tokens = TokenSet(path)
        tokens.check()
        return tokens, {}

    with pytest.raises(UserError, match="delete the folder and collect the tokens again") as refused:
        read(folder)
    assert why in str(refused.value) and repr(str(folder)) in str(refused.value)
    assert read_cached(folder, read, images, BrokenReport()) is None and not folder.exists()


def test_a_folder_may_be_text_and_must_exist(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "set", 20).folder
    assert TokenSet(str(folder)).n == 20
    with pytest.raises(UserError, match=r"There is no token set at .*other"):
        TokenSet(str(tmp_path / "other"))
    (folder / "input-00000.npy").unlink()
    with pytest.raises(UserError, match=r"lacks the file 'input-00000\.npy'"):
        TokenSet(folder).gather("input", np.arange(3))


@pytest.mark.parametrize("n", [1, 9, 23])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_file_that_grows_is_that_of_numpy(tmp_path: Path, n: int, dtype: str) -> None:
    rows = np.random.default_rng(0).normal(size=(n, 7)).astype(dtype)
    file = PartFile(tmp_path / "grown.npy", 7, np.dtype(dtype))
    for start in range(0, n, 4):
        file.add(rows[start : start + 4])
    file.close()
    np.save(tmp_path / "saved.npy", rows)
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: PartFile, rows: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartFile, "add", full)
    writer = TokenWriter(tmp_path / "x")
    with pytest.raises(OSError, match="No space"):
        writer.add(np.arange(2), np.arange(2), np.arange(2), output=torch.zeros(2, 3))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_float16_halves_the_disk_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    index = np.arange(2)
    writer = TokenWriter(tmp_path / "half", dtype="float16")
    writer.add(index, index, index, output=torch.tensor([[1.0], [2.0]]))
    found = writer.finish()
    assert np.load(found.folder / "output-00000.npy").dtype == np.float16
    assert found.gather("output", index).dtype == torch.float32
    writer = TokenWriter(tmp_path / "overflow", dtype="float16")
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
