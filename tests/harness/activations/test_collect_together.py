"""Token sets of several sites and seeds, and a head's features, from one pass: equal to the bit to separate passes."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from decode_counts import count_decodes

from harness import backbones, datasets
from harness.activations import collect as collecting
from harness.activations.capture import capture_sites
from harness.activations.collect import SitePlans, collect
from harness.activations.heads.probe import Probe
from harness.activations.probing_features import features_file, probing_features
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.activations.sites import open_site
from harness.activations.token_set import TokenSet
from harness.backbones.base import Backbone
from harness.datasets.base import ImageSet
from harness.datasets.loading import BrokenReport
from harness.errors import UserError

SITES = ("blocks.2.mlp.fc2", "blocks.0.mlp.fc2", "blocks.1")


def plan(seed: int = 1, *, crops: int = 0, dtype: str = "float32") -> ProbingPlan:
    return ProbingPlan(crops=crops, tokens_per_image=5, dtype=dtype, seed=seed)


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return backbones.load("tiny_vit")


@pytest.fixture(scope="module")
def sites(vit: Backbone) -> list[Site]:
    return [open_site(vit, path) for path in SITES]


@pytest.fixture
def images(photo_folder: Path) -> ImageSet:
    """The pictures, two of which cannot be read."""
    broken = datasets.load(f"folder:{photo_folder}")
    return ImageSet(broken.name, broken.records, broken.classes, reader=_SomeBroken(broken))


class _SomeBroken:
    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def read(self, record: datasets.base.ImageRecord) -> bytes:
        name = record.name
        return (
            b"no picture"
            if name in (self.images.records[3].name, self.images.records[20].name)
            else (self.images.reader.read(record))
        )

    def __getattr__(self, name: str) -> object:
        return getattr(self.images.reader, name)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counts = count_decodes(monkeypatch)
    return counts


def files_of(tokens: TokenSet) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in tokens.folder.iterdir()}


def test_every_site_captured_together_equals_the_site_alone(vit: Backbone, sites: list[Site]) -> None:
    batch = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    for to_end in (False, True):
        captured, result = capture_sites(sites, vit.features, batch, to_end=to_end)
        for site, together in zip(sites, captured, strict=True):
            alone = site.capture(vit.features, batch)
            assert torch.equal(alone.q, together.q) and torch.equal(alone.a, together.a)
        assert (result is not None) == to_end
    with torch.inference_mode():
        assert torch.equal(result, vit.features(batch))


def test_the_network_runs_up_to_the_last_site(vit: Backbone, sites: list[Site]) -> None:
    reached: list[str] = []
    handles = [
        block.register_forward_hook(lambda module, inputs, output, name=name: reached.append(name))
        for name, block in vit.model.blocks.named_children()
    ]
    try:
        capture_sites(sites[1:], vit.features, vit.blank_images(1))
    finally:
        for handle in handles:
            handle.remove()
    assert reached == ["0", "1"]


@pytest.mark.parametrize("crops", [0, 2])
def test_token_sets_of_one_pass_equal_those_of_separate_passes(
    vit: Backbone, sites: list[Site], images: ImageSet, tmp_path: Path, opened: Counter[str], crops: int
) -> None:
    plans = (plan(1, crops=crops), plan(2, crops=crops))
    together, report = tmp_path / "together", BrokenReport()
    first, *later = (SitePlans(site, plans) for site in sites)
    # The same site with another seed is ahead too.
    ahead = [SitePlans(sites[0], (plans[1],)), *later]
    collect(vit, sites[0], images, plans[:1], together, batch_size=5, ahead=ahead, features=True, report=report)
    assert set(opened.values()) == {1} and len(opened) == len(images)
    assert len(report) == 2
    opened.clear()
    for each in (first, *later):
        made = collect(vit, each.site, images, plans, together, batch_size=5)
        # Only the two pictures that cannot be read are tried again.
        assert len(opened) <= 2
        separate = collect(vit, each.site, images, plans, tmp_path / each.site.path, batch_size=5)
        assert [files_of(tokens) for tokens in made] == [files_of(tokens) for tokens in separate]
        opened.clear()
    kept = probing_features(vit, images, together, batch_size=5, progress=_silent, report=report)
    assert len(opened) <= 2
    alone = probing_features(vit, images, tmp_path / "none", batch_size=5, progress=_silent, report=report)
    assert torch.equal(kept.index, alone.index) and torch.equal(kept.features, alone.features)
    assert len(kept.index) == len(images) - 2


def test_sets_in_the_cache_and_of_other_crops_are_not_made(
    vit: Backbone, sites: list[Site], images: ImageSet, tmp_path: Path
) -> None:
    [kept] = collect(vit, sites[1], images, [plan(1)], tmp_path)
    stamp = (kept.folder / "meta.json").stat().st_mtime_ns
    ahead = [SitePlans(sites[1], (plan(1), plan(1, crops=2))), SitePlans(sites[2], (plan(3, crops=2),))]
    collect(vit, sites[0], images, [plan(1)], tmp_path, ahead=ahead)
    assert (kept.folder / "meta.json").stat().st_mtime_ns == stamp
    assert len(list((tmp_path / "tokens").iterdir())) == 2
    # Without a pass for its own sake nothing is made.
    collect(vit, sites[0], images, [plan(1)], tmp_path, ahead=[SitePlans(sites[2], (plan(1),))])
    assert len(list((tmp_path / "tokens").iterdir())) == 2


def test_activations_that_cannot_be_stored_stop_only_their_site(
    vit: Backbone, sites: list[Site], images: ImageSet, tmp_path: Path
) -> None:
    with torch.no_grad():
        module = vit.model.get_submodule(SITES[0])
        before = module.bias.clone()
        module.bias.fill_(1e6)
    half = plan(1, dtype="float16")
    try:
        [tokens] = collect(vit, sites[1], images, [half], tmp_path, ahead=[SitePlans(sites[0], (half,))])
        assert tokens.n == 5 * (len(images) - 2)
        assert [folder.name for folder in (tmp_path / "tokens").iterdir()] == [tokens.fingerprint]
        with pytest.raises(UserError, match="do not fit in float16"):
            collect(vit, sites[0], images, [half], tmp_path, ahead=[SitePlans(sites[2], (half,))])
        assert [folder.name for folder in (tmp_path / "tokens").iterdir()] == [tokens.fingerprint]
    finally:
        with torch.no_grad():
            module.bias.copy_(before)


def test_sets_without_room_are_left_for_another_pass(
    vit: Backbone, sites: list[Site], images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 48 images of 5 tokens of 96 + 24 or 24 float32.
    linear, output = 48 * 5 * 120 * 4, 48 * 5 * 24 * 4
    free = SimpleNamespace(free=linear + output + 10)
    monkeypatch.setattr(collecting, "shutil", SimpleNamespace(disk_usage=lambda path: free))
    ahead = [SitePlans(site, (plan(1),)) for site in sites[1:]]
    with pytest.warns(RuntimeWarning, match="1 token set of tiny_vit is left for a further pass"):
        collect(vit, sites[0], images, [plan(1)], tmp_path, ahead=ahead)
    made = {TokenSet(folder).meta["description"]["site"] for folder in (tmp_path / "tokens").iterdir()}
    assert made == {SITES[0], SITES[2]}


def test_an_interrupted_pass_leaves_nothing_behind(
    vit: Backbone, sites: list[Site], images: ImageSet, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        if done > 10:
            raise KeyboardInterrupt

    ahead = [SitePlans(site, (plan(1),)) for site in sites[1:]]
    with pytest.raises(KeyboardInterrupt):
        collect(
            vit, sites[0], images, [plan(1)], tmp_path, batch_size=8, progress=interrupt, ahead=ahead, features=True
        )
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_probe_reads_the_features_of_the_pass_and_removes_them(
    vit: Backbone, sites: list[Site], images: ImageSet, tmp_path: Path, opened: Counter[str]
) -> None:
    kind = Probe(vit, images, images.name, {})
    assert kind.reads_features(tmp_path)
    collect(vit, sites[0], images, [plan(1)], tmp_path, batch_size=5, features=True)
    opened.clear()
    together = kind.make(tmp_path, batch_size=5)
    assert len(opened) <= 2 and not kind.reads_features(tmp_path)
    assert not features_file(vit, images, tmp_path).exists()
    alone = kind.make(tmp_path / "alone", batch_size=5)
    assert together.fingerprint() == alone.fingerprint()


def test_damaged_features_are_made_again(vit: Backbone, images: ImageSet, sites: list[Site], tmp_path: Path) -> None:
    kind = Probe(vit, images, images.name, {})
    expected = kind.make(tmp_path / "alone", batch_size=5).fingerprint()
    file = features_file(vit, images, tmp_path)
    collect(vit, sites[0], images, [plan(1)], tmp_path, batch_size=5, features=True)
    whole = file.read_bytes()
    other = features_file(vit, images.subset(range(10)), tmp_path)
    for damage in (whole[: len(whole) // 2], b"", np.random.default_rng(0).bytes(100)):
        file.write_bytes(damage)
        shutil.rmtree(tmp_path / "heads", ignore_errors=True)
        assert kind.make(tmp_path, batch_size=5).fingerprint() == expected
    # Features of more images than there are: an index beyond the set.
    other.write_bytes(whole)
    few = Probe(vit, images.subset(range(10)), images.name, {})
    with pytest.raises(UserError, match="at least two classes"):
        few.make(tmp_path, batch_size=5)
    assert not other.exists()


def _silent(done: int, total: int, what: str) -> None:
    pass
