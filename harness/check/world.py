"""Small network on a few drawn images, run through the same code as a real run, on which metrics are checked."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import methods
from harness.activations.baseline import Baseline, make_baseline
from harness.activations.collect import collect
from harness.activations.external_images import ExternalImages
from harness.activations.heads.probe import Probe
from harness.activations.linear_site import LinearLayerSite
from harness.activations.probing_images import probing_images
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.activations.token_set import TokenSet
from harness.backbones.base import Backbone, Preprocessing
from harness.datasets.base import ImageRecord, ImageSet, Reader
from methods.base import Method, Reads
from methods.dictionaries.pca import PCA

TOP_IMAGES = 6
#: Images per batch in the first pass over the evaluation split, and in the pass that must give the same scores.
BATCH, OTHER_BATCH = 4, 7


@dataclass
class CheckWorld:
    """Layer (d_in 8, d_out 12) of a network with random weights, with 18 images to fit on and 18 to evaluate on."""

    site: Site
    tokens: TokenSet
    baseline: Baseline

    @cached_property
    def fitted(self) -> dict[str, Method]:
        """Fitted methods that differ in the properties that may make a metric fail."""
        configs: dict[str, dict[str, object]] = {
            "identity": {},
            "random_split": {"parts": 2},
            "pca": {"n_components": 3},
            "random_dictionary": {"expansion_factor": 2, "k": 3},
            "dnrwcv": {},
        }
        fitted = {
            name: methods.create(name, **config).fit(self.tokens, self.site, seed=1) for name, config in configs.items()
        }
        fitted["dead units"] = _DeadUnits(PCA.Config(n_components=4)).fit(self.tokens, self.site)
        fitted["nonlinear decoder"] = _NonlinearDecoder(PCA.Config(n_components=5)).fit(self.tokens, self.site)
        return fitted

    def on_further_set(self) -> CheckWorld:
        """Return the world with its probing images in place of the evaluation images of a first set."""
        return CheckWorld(self.site, self.tokens, replace(self.baseline, first_set=self.baseline.probing))


@contextmanager
def small_world() -> Iterator[CheckWorld]:
    """Make the world within the context. Its files on disk are removed at the end."""
    backbone = drawn_network(8, 12)
    images = drawn_images()
    probing, evaluation = images.split(evaluation=0.5)
    site = LinearLayerSite(backbone.model, "mix")
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        plan = ProbingPlan(crops=0, tokens_per_image=None, dtype="float32", seed=1)
        (tokens,) = collect(backbone, site, probing, [plan], cache)
        head = Probe(backbone, probing, probing.name, {}).make(cache)
        baseline = make_baseline(
            backbone, site, evaluation, head, cache, top_images=TOP_IMAGES, head_identity="check", batch_size=BATCH
        )
        baseline = replace(
            baseline,
            probing=probing_images(baseline.passes, probing, cache),
            external=drawn_embeddings(evaluation, cache),
        )
        yield CheckWorld(site, tokens, baseline)


def drawn_embeddings(images: ImageSet, cache: Path) -> ExternalImages:
    """Return images with drawn embeddings in place of those of another backbone."""
    external = ExternalImages(images, "check", torch.device("cpu"), BATCH, cache)
    drawn = torch.randn(len(images), 6, generator=torch.Generator().manual_seed(0))
    # The values of cached properties, which would load the encoder.
    external.__dict__.update(embeddings=torch.nn.functional.normalize(drawn, dim=1), fingerprint="drawn")
    return external


def drawn_network(d_in: int, d_out: int, *, with_head: bool = False) -> Backbone:
    """Return a network with random weights whose layer ``mix`` has these widths; with a head, it has three classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential()
        model.add_module("stem", nn.Sequential(nn.Conv2d(3, d_in, 8, stride=8), nn.ReLU()))
        model.add_module("mix", nn.Conv2d(d_in, d_out, 1))
        model.add_module("pool", nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        head = nn.Linear(d_out, len(CLASSES)) if with_head else None
    if head is not None:
        model.add_module("fc", head)
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
        pool=lambda net, images: cast(nn.Sequential, net)[:3](images),
        head=None if head is None else lambda net, features: cast(nn.Sequential, net)[3](features),
        n_classes=None if head is None else len(CLASSES),
    )


class _DeadUnits(PCA):
    """PCA whose units never fire, so the mean is the reconstruction."""

    spec = PCA.spec._replace(name="dead_units", title="dead units")

    def encode(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.n_units)


class _NonlinearDecoder(PCA):
    """PCA whose decoder squashes the reconstruction, so units have no atoms."""

    spec = PCA.spec._replace(name="nonlinear_decoder", title="nonlinear decoder")

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        return super().decode(codes).tanh()

    def dictionary(self) -> None:  # type: ignore[override]
        return None


CLASSES = ("stripes across", "stripes down", "rings")
SIDE = 48


class DrawnImages(Reader):
    """Reader of deterministic PNG images of stripes and rings, drawn when they are read."""

    def read(self, record: ImageRecord) -> bytes:
        return _drawn(int(record.name.removesuffix(".png")))


def drawn_images(n: int = 36) -> ImageSet:
    """Return a set of ``n`` drawn images, with the three classes in turn."""
    names = [f"{number:03d}.png" for number in range(n)]
    records = tuple(ImageRecord(name, Path(name), number % len(CLASSES)) for number, name in enumerate(names))
    return ImageSet("drawn", records, CLASSES, DrawnImages())


@lru_cache(maxsize=512)
def _drawn(number: int) -> bytes:
    generator = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] - generator.uniform(0.3, 0.7) * SIDE
    along = (y, x, np.hypot(x, y))[number % len(CLASSES)]
    wave = 0.5 + 0.5 * np.sin(along * generator.uniform(0.5, 0.7) + generator.uniform(0, 6))
    colour = generator.uniform(0.3, 1.0, 3)
    pixels = 255 * wave[..., None] * colour + generator.uniform(0, 20, (SIDE, SIDE, 3))
    encoded = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(encoded, format="PNG", compress_level=1)
    return encoded.getvalue()


class SmallTokens:
    """Tokens in memory, with the interface of `methods.base.Tokens`."""

    def __init__(
        self,
        q: Tensor | None,
        a: Tensor,
        image: np.ndarray,
        position: np.ndarray,
        label: np.ndarray,
        view: np.ndarray | None = None,
    ) -> None:
        self.fields: dict[Reads, Tensor] = {"output": a} if q is None else {"input": q, "output": a}
        self.image, self.position, self.label = image, position, label
        self.view = np.zeros(len(image), dtype=np.int64) if view is None else view

    @property
    def n(self) -> int:
        return len(self.image)

    def width(self, field: Reads) -> int:
        return int(self.fields[field].shape[1])

    def batches(self, field: Reads, size: int) -> Iterator[Tensor]:
        yield from (rows.clone() for rows in self.fields[field].split(size))

    def gather(self, field: Reads, rows: np.ndarray) -> Tensor:
        return self.fields[field][torch.from_numpy(np.asarray(rows, dtype=np.int64))].clone()

    def columns(self, field: Reads, start: int, stop: int) -> Tensor:
        return self.fields[field][:, start:stop].clone()


def small_layer(
    n_images: int = 60, n_positions: int = 10, *, width: int | None = None, d_in: int | None = None
) -> tuple[Site, SmallTokens]:
    """Return a layer with random weights, and ``n_images * n_positions`` clustered tokens.

    The layer has ``d_in`` inputs, 24 by default, and ``width`` outputs, 8 by default. The tokens resemble
    those of a real network. The result is deterministic.
    """
    generator = torch.Generator().manual_seed(0)
    width, d_in = width or 8, d_in or 24
    weight = torch.randn(width, d_in, generator=generator)
    bias = torch.randn(width, generator=generator)
    n = n_images * n_positions
    centres = torch.relu(torch.randn(6, d_in, generator=generator)) * 2
    q = centres[torch.arange(n) % 6] + 0.3 * torch.randn(n, d_in, generator=generator)
    layer = nn.utils.skip_init(nn.Linear, d_in, width).requires_grad_(False)
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    image = np.repeat(np.arange(n_images, dtype=np.int64), n_positions)
    position = np.tile(np.arange(-1, n_positions - 1, dtype=np.int32), n_images)
    tokens = SmallTokens(q, q @ weight.T + bias, image, position, image % 3)
    return LinearLayerSite(nn.Sequential(layer), "0"), tokens
