"""Prefixes of training code: removed where the architecture's names appear, refused where two models fit."""

from __future__ import annotations

import pytest
import torch

from harness import backbones
from harness.backbones.sources.checkpoint import read_state_dict, require_finite
from harness.backbones.sources.wrapper_prefixes import unwrap
from methods.errors import UserError

pytestmark = pytest.mark.usefixtures("no_network")

TINY = "timm:test_vit.r160_in1k"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    state = backbones.load(TINY, weights=False).model.state_dict()
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in state.items()}


def under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def headless(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("head.")}


def load(saved: object, tmp_path) -> backbones.base.Backbone:
    torch.save(saved, tmp_path / "x.pth")
    return backbones.load(TINY, checkpoint=tmp_path / "x.pth")


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "backbone.", "encoder.", "module._orig_mod.", "_orig_mod.module.",
     "model.net.visual.", "anything."],
)  # fmt: skip
def test_a_shared_prefix_is_removed(state, tmp_path, prefix):
    backbone = load(under(prefix, state), tmp_path)
    loaded = backbone.model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert backbone.notes == () and backbone.n_classes == 1000


def test_markers_of_compiled_parts_are_removed_at_any_depth(state, tmp_path):
    renamed = {name.replace("blocks.0.", "blocks.0._orig_mod."): tensor for name, tensor in state.items()}
    loaded = load({"state_dict": renamed}, tmp_path).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_other_parts_of_a_training_model_are_left_out_and_named(state, tmp_path):
    saved = {**under("backbone.", headless(state)), "head.mlp.weight": torch.zeros(2, 2), "head.bias": torch.zeros(2)}
    backbone = load({"state_dict": saved, "epoch": 3}, tmp_path)
    assert backbone.n_classes is None and backbone.head_labels is None
    assert backbone.notes == (
        "Of 'x.pth', the weights under 'backbone.' are used; the others are ignored: head.* (2 tensors).",
    )


@pytest.mark.parametrize("nested", [True, False])
def test_the_teacher_is_preferred_to_the_student(state, tmp_path, nested):
    other = {name: tensor + 1 for name, tensor in headless(state).items()}
    student = {**under("module.backbone.", other), "module.head.weight": torch.zeros(2)}
    teacher = {**under("backbone.", headless(state)), "head.weight": torch.zeros(2)}
    saved = {"student": student, "teacher": teacher, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}
    flat = {**under("student.", student), **under("teacher.", teacher)}
    backbone = load(saved if nested else flat, tmp_path)
    assert torch.equal(backbone.model.norm.weight, state["norm.weight"])
    assert "under 'teacher.backbone.' are used" in backbone.notes[0]
    assert "student.* (" in backbone.notes[0] and "teacher.head.* (1 tensor)" in backbone.notes[0]


def test_two_models_that_fit_are_refused(state, tmp_path):
    other = {name: tensor + 1 for name, tensor in state.items()}
    with pytest.raises(UserError, match=r"several models that fit, under 'query\.', 'target\.': save one"):
        load({**under("query.", state), **under("target.", other)}, tmp_path)
    # The same weights under two names are one model.
    assert load({**under("query.", state), **under("target.", state)}, tmp_path).n_classes == 1000


def test_swa_counters_are_left_out(state, tmp_path):
    backbone = load({"n_averaged": torch.tensor(3), **under("module.", state)}, tmp_path)
    assert "n_averaged (1 tensor)" in backbone.notes[0]


def test_a_smaller_student_is_not_mistaken_for_the_model(state, tmp_path):
    small = {name: torch.zeros(3) for name in state}
    assert load({**under("student.", small), **under("large.", state)}, tmp_path).n_classes == 1000


def test_unexpected_names_beside_the_weights_are_refused_and_named(state, tmp_path):
    for prefix in ("", "backbone."):
        with pytest.raises(UserError, match=r"1 unexpected \(projector\.weight\)"):
            load(under(prefix, {**state, "projector.weight": torch.zeros(2)}), tmp_path)


def test_misfits_are_counted_against_the_best_prefix(state, tmp_path):
    part = {name: tensor for name, tensor in state.items() if name != "norm.weight"}
    with pytest.raises(UserError, match=r"parameters 1 missing \(norm\.weight\)\."):
        load(under("module.", part), tmp_path)


def test_duplicate_names_are_refused():
    with pytest.raises(UserError, match="holds parameters twice"):
        unwrap({"a": torch.zeros(1), "_orig_mod.a": torch.zeros(1)}, {}, file="x", architecture="y")


def test_dinov2s_own_checkpoints_may_be_wrapped(tmp_path):
    original = dict(backbones.build("dinov2_vits14", weights=False).model.state_dict())
    original["mask_token"] = torch.zeros(1, 384)
    torch.save({"teacher": {**under("backbone.", original), "dino_head.x": torch.zeros(1)}}, tmp_path / "x.pth")
    backbone = backbones.load("dinov2_vits14", checkpoint=tmp_path / "x.pth")
    assert torch.equal(backbone.model.norm.weight, original["norm.weight"]) and "dino_head" in backbone.notes[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_invalid_values_are_refused_and_named(state, tmp_path, value):
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken["blocks.0.attn.qkv.weight"][0, :2] = value
    with pytest.raises(
        UserError, match=r"checkpoint 'x\.pth' holds NaN or infinite values in 1 of .*qkv\.weight, 2 of"
    ):
        load(broken, tmp_path)


def test_integers_and_half_precision_are_checked():
    model = torch.nn.Linear(2, 2).half()
    for name, value in (("n", torch.tensor(3)), ("b", torch.tensor(True)), ("mask", torch.tensor(-torch.inf))):
        model.register_buffer(name, value)
    require_finite(model, "x")
    model.to(torch.bfloat16).register_buffer("h", torch.tensor([float("nan")], dtype=torch.bfloat16))
    with pytest.raises(UserError, match=r"x holds NaN .*first: h, 1 of 1"):
        require_finite(model, "x")


def test_nested_dictionaries_are_read_at_any_depth(tmp_path):
    torch.save({"state_dict": {"model": {"a": torch.ones(1)}}}, tmp_path / "x.pth")
    assert list(read_state_dict(tmp_path / "x.pth")) == ["a"]
    torch.save({"net": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "x.pth")
    assert list(read_state_dict(tmp_path / "x.pth")) == ["net.a"]
