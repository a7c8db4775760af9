"""Positions of tokens: closed forms, and the patch that a change of the image moves most in real architectures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.models.cait import Cait
from timm.models.coat import CoaT
from timm.models.crossvit import CrossVit
from timm.models.hiera import Hiera
from timm.models.mlp_mixer import MlpMixer
from timm.models.nest import Nest
from timm.models.pit import PoolingVisionTransformer
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from harness.activations.positions import token_positions
from harness.activations.sites import open_site
from harness.backbones.base import Backbone, Preprocessing
from harness.backbones.load_checks import check_loaded
from harness.backbones.sources.timm import pooled
from harness.backbones.token_layout import prefix_tokens
from harness.errors import UserError

SIZE = 64


def positions(shape: tuple[int, ...], prefix: int = 0, sides: set[int] | None = None) -> list[int]:
    positions = token_positions(shape, n_prefix_tokens=prefix, grid_sides=sides, layer="layer")
    assert positions.dtype == torch.int32
    return positions.tolist()


@pytest.mark.parametrize(
    ("shape", "prefix", "sides", "expected"),
    [
        ((6,), 2, {2}, [-1, -2, 0, 1, 2, 3]),
        ((4,), 0, None, [0, 1, 2, 3]),
        ((4,), 1, {2}, [0, 1, 2, 3]),  # CLS joins later
        ((1,), 1, {2, 1}, [-1]),  # a class-attention block sees CLS alone
        ((2,), 2, {2}, [-1, -2]),
        ((9,), 5, {2}, [-1, -2, -3, -4, -5, 0, 1, 2, 3]),  # 3 x 3 without prefix tokens is no grid of the model
        ((2, 2), 1, {2}, [0, 1, 2, 3]),  # a feature map has no prefix tokens
        ((1, 4), 0, {2}, [0, 1, 2, 3]),  # one block of 4 patches
        ((), 1, {2}, [0]),
        ((1, 1), 1, {2}, [0]),
    ],
)
def test_positions_follow_from_the_shape(
    shape: tuple[int, ...], prefix: int, sides: set[int] | None, expected: list[int]
) -> None:
    assert positions(shape, prefix, sides) == expected


@pytest.mark.parametrize(
    ("shape", "prefix", "sides", "sentence"),
    [
        ((17,), 0, {4, 2, 1}, r"has 17 tokens per image, not a square grid of this model \(2x2, 4x4\)"),
        ((17,), 0, None, "In a plugin, n_prefix_tokens = 1 or 8 would leave one"),
        ((22,), 1, {4}, "n_prefix_tokens is 1, so 21 tokens remain"),  # YOLOS: detection tokens at the end
        ((1024,), 0, {14, 7}, "has 1024 tokens per image"),  # the channels of a token-mixing MLP
        ((16, 9), 0, {4, 3}, "returns 16 x 9 tokens per image"),  # blocks of NesT
        ((196, 196), 1, {14}, "returns 196 x 196 tokens per image"),  # attention maps of CaiT
        ((2, 2, 4, 4), 0, {8, 4, 2}, "returns 2 x 2 x 4 x 4 tokens per image"),  # windows of Twins
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], prefix: int, sides: set[int] | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        positions(shape, prefix, sides)


def vit() -> nn.Module:
    return VisionTransformer(img_size=SIZE, patch_size=8, embed_dim=24, depth=2, num_heads=2, reg_tokens=2)


def pit() -> nn.Module:
    return PoolingVisionTransformer(
        img_size=SIZE, patch_size=8, stride=8, stem_type="overlap", base_dims=(12, 12), depth=(1, 1), heads=(2, 2),
        mlp_ratio=2,
    )  # fmt: skip


def cait() -> nn.Module:
    # The usual init_values=1e-5 would hide the blocks' contributions.
    return Cait(img_size=SIZE, patch_size=8, embed_dim=24, depth=2, num_heads=2, init_values=1.0)


def crossvit() -> nn.Module:
    return CrossVit(
        img_size=SIZE, img_scale=(1.0, 0.75), patch_size=(8, 16), embed_dim=(24, 32), depth=((1, 2, 0),),
        num_heads=(2, 2), mlp_ratio=(2.0, 2.0, 1.0),
    )  # fmt: skip


def coat() -> nn.Module:
    return CoaT(
        img_size=SIZE, patch_size=4, embed_dims=(16, 16, 16, 16), serial_depths=(1, 1, 1, 1), parallel_depth=1,
        num_heads=8, mlp_ratios=(2, 2, 2, 2),
    )  # fmt: skip


def swin() -> nn.Module:
    return SwinTransformer(img_size=SIZE, patch_size=4, embed_dim=16, depths=(1, 1), num_heads=(2, 2), window_size=4)


def hiera() -> nn.Module:
    return Hiera(
        img_size=(SIZE, SIZE), embed_dim=16, num_heads=1, stages=(1, 1, 1, 1), mlp_ratio=2.0, mask_unit_size=(8, 8)
    )


def mixer() -> nn.Module:
    return MlpMixer(img_size=SIZE, patch_size=8, embed_dim=256, num_blocks=1)


def nest() -> nn.Module:
    return Nest(img_size=SIZE, patch_size=4, num_levels=2, embed_dims=(16, 16), num_heads=(2, 2), depths=(1, 1))


def loaded(build: Callable[[], nn.Module]) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
    backbone = Backbone(
        name="made",
        title="made",
        model=model,
        preprocessing=Preprocessing(SIZE, SIZE, "bicubic", (0.5,) * 3, (0.5,) * 3),
        n_prefix_tokens=prefix_tokens(model),
        default_site=None,
        source="tests",
        license="none",
        pretrained=False,
        pool=pooled,
    )
    check_loaded(backbone)
    return backbone


@pytest.mark.parametrize(
    ("build", "path", "n_tokens", "prefix"),
    [
        (vit, "blocks.0.mlp.fc2", 67, 3),
        (pit, "transformers.0.blocks.0.mlp.fc2", 65, 1),
        (pit, "transformers.1.blocks.0.mlp.fc2", 17, 1),
        (cait, "blocks.0.mlp.fc2", 64, 0),
        (cait, "blocks_token_only.0.attn.k", 65, 1),
        (crossvit, "blocks.0.blocks.0.0.mlp.fc2", 65, 1),
        (crossvit, "blocks.0.blocks.1.0.mlp.fc2", 10, 1),
        (coat, "serial_blocks1.0.mlp.fc2", 257, 1),
        (coat, "serial_blocks2.0.mlp.fc2", 65, 1),
        (swin, "layers.0.blocks.0.mlp.fc2", 256, 0),
        (swin, "layers.1.downsample.reduction", 64, 0),
        (mixer, "blocks.0.mlp_channels.fc2", 64, 0),
        (hiera, "blocks.3.mlp.fc2", 4, 0),
    ],
)
def test_a_changed_patch_moves_the_token_at_its_position(
    build: Callable[[], nn.Module], path: str, n_tokens: int, prefix: int
) -> None:
    """The truth is the image: one cell of the grid is brightened, and the token there must change most."""
    backbone = loaded(build)
    site = open_site(backbone, path)
    site.locate(backbone)
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, SIZE, SIZE, generator=generator)
    before = site.capture(backbone.features, image).a
    positions = site.positions(before.shape[1])
    assert (len(positions), int((positions < 0).sum())) == (n_tokens, prefix)
    located = {} if prefix == backbone.n_prefix_tokens else {"prefix_tokens": prefix}
    assert site.identity() == {"site": path, **located}
    side = round((n_tokens - prefix) ** 0.5)
    for row, column in ((0, side - 1), (side // 2, 0), (side - 1, side // 2)):
        changed = image.clone()
        # Inside the cell and left of its middle: overlapping convolutions reach into the neighbours.
        rows, columns = (slice(*(round((cell + end) * SIZE / side) for end in (0.2, 0.5))) for cell in (row, column))
        changed[:, :, rows, columns] += 3.0
        change = (site.capture(backbone.features, changed).a - before).norm(dim=-1)[0]
        change[positions < 0] = -1.0
        assert int(positions[change.argmax()]) == row * side + column


@pytest.mark.parametrize(
    ("build", "path", "sentence"),
    [
        (mixer, "blocks.0.mlp_tokens.fc2", "has 256 tokens per image"),  # 16 x 16 channels, but the grid is 8 x 8
        (hiera, "blocks.0.mlp.fc2", r"has 256 tokens per image, not a square grid of this model \(2x2\)"),
        (nest, "levels.0.transformer_encoder.0.mlp.fc2", "returns 4 x 64 tokens per image"),
        (cait, "blocks.0.attn.proj_l", "returns 64 x 64 tokens per image"),
    ],
)
def test_layers_whose_tokens_are_in_another_order_are_refused(
    build: Callable[[], nn.Module], path: str, sentence: str
) -> None:
    backbone = loaded(build)
    with pytest.raises(UserError, match=sentence):
        open_site(backbone, path).locate(backbone)


def test_class_attention_sees_cls_alone() -> None:
    backbone = loaded(cait)
    site = open_site(backbone, "blocks_token_only.1.mlp.fc2")
    site.locate(backbone)
    assert site.positions(1).tolist() == [-1] and site.identity() == {"site": site.path}
