"""Checkpoint files: what fits and what does not, no pickle that runs, and the original DINOv2 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_pickle import Payload

from harness import backbones
from harness.backbones.sources import checkpoint, dinov2
from methods.errors import UserError

pytestmark = pytest.mark.usefixtures("no_network")

# --- local checkpoints ---------------------------------------------------------------------------------------------


TINY = "timm:test_vit"


@pytest.fixture(scope="module")
def tiny_state() -> dict[str, torch.Tensor]:
    state = backbones.load(TINY, weights=False).model.state_dict()
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in state.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_local_checkpoints_load(tmp_path, tiny_state, suffix):
    from safetensors.torch import save_file

    file = tmp_path / f"weights{suffix}"
    save_file(tiny_state, file) if suffix == ".safetensors" else torch.save(tiny_state, file)
    backbone = backbones.load(TINY, checkpoint=file)
    assert backbone.pretrained and backbone.source == "local checkpoint" and backbone.name == TINY
    assert all(torch.equal(tensor, tiny_state[name]) for name, tensor in backbone.model.state_dict().items())
    assert str(tmp_path) not in repr(backbone.name + backbone.source + backbone.license + backbone.title)


def test_averaged_weights_and_wrappers_are_unwrapped(tmp_path, tiny_state):
    other = {name: torch.zeros_like(tensor) for name, tensor in tiny_state.items()}
    wrapped = {f"module.{name}": tensor for name, tensor in tiny_state.items()}
    torch.save({"model": other, "state_dict_ema": wrapped, "epoch": 3}, tmp_path / "run.pth")
    loaded = backbones.load(TINY, checkpoint=tmp_path / "run.pth").model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny_state.items())


def test_checkpoints_bring_their_own_head_or_none(tmp_path, tiny_state):
    width = tiny_state["head.weight"].shape[1]
    head = {"head.weight": torch.randn(7, width), "head.bias": torch.zeros(7)}
    torch.save({**tiny_state, **head}, tmp_path / "seven.pth")
    seven = backbones.load(TINY, checkpoint=tmp_path / "seven.pth")
    assert (seven.n_classes, seven.head_labels) == (7, None)
    headless = {name: tensor for name, tensor in tiny_state.items() if not name.startswith("head.")}
    torch.save(headless, tmp_path / "none.pth")
    assert backbones.load(TINY, checkpoint=tmp_path / "none.pth").n_classes is None


def test_mismatching_parameters_are_counted_and_named(tmp_path, tiny_state):
    state = dict(tiny_state)
    for name in [name for name in state if name.startswith("blocks.1.norm")]:
        del state[name]
    state["extra.weight"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(UserError) as caught:
        backbones.load(TINY, checkpoint=tmp_path / "bad.pth")
    message = str(caught.value)
    assert "'bad.pth' does not fit test_vit" in message and "4 missing (blocks.1.norm1.weight" in message
    assert "1 unexpected (extra.weight)" in message and "1 of another shape (norm.weight (3,)" in message
    assert str(tmp_path) not in message


def test_quantised_weights_are_refused(tmp_path, tiny_state):
    state = {**tiny_state, "norm.weight": tiny_state["norm.weight"].to(torch.int8)}
    torch.save(state, tmp_path / "int8.pth")
    with pytest.raises(UserError, match=r"1 not real numbers \(norm\.weight torch\.int8\)"):
        backbones.load(TINY, checkpoint=tmp_path / "int8.pth")


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="running what a pickle carries is refused"):
        backbones.load(TINY, checkpoint=tmp_path / "evil.pth")
    assert not Path("never_created_by_a_checkpoint").exists()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors", "x.bin"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04broken", b"\x80\x02."])
def test_unreadable_files_are_said_plainly(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read") as caught:
        checkpoint.read_state_dict(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_without_tensors_and_other_kinds_are_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no tensors by name"):
        checkpoint.read_state_dict(tmp_path / "x.pth")
    torch.save(torch.zeros(3), tmp_path / "y.pt")
    with pytest.raises(UserError, match="holds no tensors by name"):
        checkpoint.read_state_dict(tmp_path / "y.pt")
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint this reads"):
        checkpoint.read_state_dict(tmp_path / "x.npz")
    with pytest.raises(UserError, match="no checkpoint"):
        backbones.load(TINY, checkpoint=tmp_path / "missing.pth")
    with pytest.raises(UserError, match="exclude each other"):
        backbones.load(TINY, checkpoint=tmp_path / "x.pth", weights=False)
    for name in ("dinov2_small_saliency", "efficientnet_lite0"):
        with pytest.raises(UserError, match="has fixed weights and takes no checkpoint"):
            backbones.load(name, checkpoint=tmp_path / "x.pth")


# --- original DINOv2 checkpoints -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original_state() -> dict[str, torch.Tensor]:
    """Random weights under the names and shapes of dinov2_vits14_pretrain.pth (518 px, with its mask token)."""
    state = dict(backbones.load("dinov2_vits14", weights=False).model.state_dict())
    generator = torch.Generator().manual_seed(0)
    state["pos_embed"] = torch.randn(1, 1370, 384, generator=generator)
    state["mask_token"] = torch.zeros(1, 384)
    return state


def test_original_dinov2_files_load_by_both_ways(tmp_path, original_state):
    torch.save(original_state, tmp_path / "dinov2_vits14_pretrain.pth")
    ours = backbones.load("dinov2_vits14", checkpoint=tmp_path / "dinov2_vits14_pretrain.pth")
    timms = backbones.load("timm:vit_small_patch14_dinov2", checkpoint=tmp_path / "dinov2_vits14_pretrain.pth")
    a, b = ours.model.state_dict(), timms.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a if name != "pos_embed")
    assert a["pos_embed"].shape == b["pos_embed"].shape == (1, 257, 384)
    assert not torch.allclose(a["pos_embed"], b["pos_embed"])  # the original does not antialias
    assert ours.preprocessing == timms.preprocessing


def cubic(row: list[float], position: float) -> float:
    """Cubic convolution of ``row`` at ``position`` with a = -0.75 and the ends repeated, written out."""
    a, first = -0.75, int(np.floor(position)) - 1
    total = 0.0
    for index in range(first, first + 4):
        t = abs(position - index)
        weight = (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * (t**3 - 5 * t**2 + 8 * t - 4)
        total += weight * row[min(max(index, 0), len(row) - 1)]
    return total


def test_position_embedding_is_sampled_as_the_original_does():
    """The original scales by 16.1 / 37, so output i is read at (i + 0.5) * 37 / 16.1 - 0.5, not at ... * 37 / 16."""
    row = torch.randn(37, generator=torch.Generator().manual_seed(0))
    patches = row.view(1, 37, 1).expand(37, 37, 1).reshape(1, 1369, 1)  # the same row 37 times
    resized = dinov2.resize_position_embedding(torch.cat([torch.full((1, 1, 1), 7.0), patches], dim=1), 16)
    assert resized.shape == (1, 257, 1) and resized[0, 0, 0] == 7.0
    expected = torch.tensor([cubic(row.tolist(), (i + 0.5) * 37 / 16.1 - 0.5) for i in range(16)])
    torch.testing.assert_close(resized[0, 1:, 0].view(16, 16), expected.expand(16, 16), rtol=0, atol=1e-4)
    same = torch.randn(1, 257, 4)
    assert dinov2.resize_position_embedding(same, 16) is same


@pytest.mark.parametrize("key", ["ema", "ema_model", "model_ema", "state_dict_ema"])
def test_averaged_weights_are_preferred(tiny_state, tmp_path, key):
    other = {name: tensor + 1 for name, tensor in tiny_state.items()}
    torch.save({"model": other, key: tiny_state}, tmp_path / "run.pth")
    state = checkpoint.read_state_dict(tmp_path / "run.pth")
    assert all(torch.equal(state[name], tensor) for name, tensor in tiny_state.items())


def test_a_dictionary_that_contains_itself_is_refused(tmp_path):
    for key in ("model", "inner"):
        endless: dict[str, object] = {}
        endless[key] = endless
        torch.save(endless, tmp_path / "endless.pth")
        with pytest.raises(UserError, match="contain themselves"):
            checkpoint.read_state_dict(tmp_path / "endless.pth")
