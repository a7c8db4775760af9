"""A network of a few neurons on a few drawn images, through the same code as a real run: where a metric is checked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

import methods
import methods.base
from harness.backbones.base import Backbone, Preprocessing
from harness.baseline import Baseline, make_baseline
from harness.check.drawn import drawn_images
from harness.datasets.base import ImageSet
from harness.head import make_head
from harness.probing import ProbingPlan, collect
from harness.site import Site
from harness.tokens import TokenSet
from methods.base import Dictionary, Method, MethodSpec, Progress, no_progress

TOP_IMAGES = 6
#: Images a batch in the first pass over the evaluation split, and in the one that must give the same.
BATCH, OTHER_BATCH = 4, 7


@dataclass
class World:
    """One layer (d_in 8, d_out 12) of a network of random weights, with 18 images to fit on and 18 to evaluate on."""

    site: Site
    tokens: TokenSet
    baseline: Baseline

    @cached_property
    def fitted(self) -> dict[str, Method]:
        """Methods that differ in what a metric may trip over."""
        wanted: dict[str, dict[str, object]] = {
            "identity": {},
            "random_split": {"parts": 2},
            "pca": {"n_components": 3},
            "random_dictionary": {"expansion_factor": 2, "k": 3},
            "dnrwcv": {},
        }
        found = {
            name: methods.create(name, **config).fit(self.tokens, self.site, seed=1) for name, config in wanted.items()
        }
        found["dead units"] = _Dead().fit(self.tokens, self.site)
        return found

    def in_batches_of(self, size: int) -> Baseline:
        """The same split, read ``size`` images at a time."""
        return replace(self.baseline, passes=replace(self.baseline.passes, batch_size=size))


@contextmanager
def small_world() -> Iterator[World]:
    """The world; what it keeps on the disk goes when it ends."""
    backbone = _network()
    images = drawn_images()
    probing, evaluation = images.split(evaluation=0.5)
    site = Site(backbone.model, "mix")
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        plan = ProbingPlan(crops=0, tokens_per_image=None, dtype="float32", seed=1)
        (tokens,) = collect(backbone, site, probing, [plan], cache)
        yield World(site, tokens, _baseline(backbone, site, probing, evaluation, cache))


def _baseline(backbone: Backbone, site: Site, probing: ImageSet, evaluation: ImageSet, cache: Path) -> Baseline:
    head = make_head("probe", backbone, probing, cache)
    return make_baseline(
        backbone, site, evaluation, head, cache, top_images=TOP_IMAGES, head_identity="check", batch_size=BATCH
    )


def _network() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential()
        model.add_module("stem", nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU()))
        model.add_module("mix", nn.Conv2d(8, 12, 1))
        model.add_module("pool", nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    return Backbone(
        name="check",
        title="a network for checks",
        model=model,
        preprocessing=Preprocessing(32, 32, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        n_prefix_tokens=0,
        default_site="mix",
        source="drawn",
        license="none",
        pretrained=False,
        pool=lambda net, images: net(images),
    )


class _Dead(Method):
    """Four units that never fire, and the mean for a reconstruction."""

    spec = MethodSpec("dead_units", "dead units", "control", "output", "harness check", training_free=True)
    fitted = ("mean",)

    def fit(
        self,
        tokens: methods.base.Tokens,
        site: methods.base.LinearSite,
        *,
        seed: int = 42,
        device: methods.base.Device = "cpu",
        progress: Progress = no_progress,
    ) -> _Dead:
        self.mean = tokens.gather("output", torch.arange(tokens.n).numpy()).mean(0)
        return self

    def encode(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.n_units)

    def decode(self, codes: Tensor) -> Tensor:
        return self.mean.expand(len(codes), -1).clone()

    def dictionary(self) -> Dictionary:
        return Dictionary(torch.eye(self.n_units, len(self.mean)), None, "writer")

    @property
    def n_units(self) -> int:
        return 4
