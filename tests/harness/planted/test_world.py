"""Worlds: draws that may never change, and the world of parents and children with its images."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from harness.datasets.hierarchy import ClassHierarchy
from harness.errors import UserError
from harness.planted.backbone import truth
from harness.planted.images import load
from harness.planted.world import SETTINGS, world

HIERARCHICAL = ("hierarchical", "hierarchical_mixed")

#: World -> digest of what is drawn, sum of its inputs, and sum of the sizes of its weights. Stores hold results on
#: these worlds: a change here is a new setting, not another value in this table.
DRAWN = {
    "two_concepts@1": ("3e1bbb7f1a07152e", 59088.47, 666.542),
    "unbalanced@1": ("489d75621dbde348", 57231.12, 549.915),
    "three_concepts@1": ("131d46dcc0eb573c", 58638.35, 921.878),
    "noisy@1": ("f000bd6829f6acf7", 173317.67, 668.183),
    "unequal@1": ("0ed5b97e78656fa1", 57850.82, 671.878),
    "correlated@1": ("3aa5bf6b221a9e35", 78924.37, 671.103),
    "superposition@1": ("39e602bbcdc2e7f2", 94719.82, 942.591),
    "hierarchical@1": ("c01a669947289090", 55788.82, 3666.840),
    "hierarchical_mixed@1": ("6f00964432776155", 88715.25, 3679.211),
}


def digest(*drawn: Tensor) -> str:
    content = b"".join(each.contiguous().numpy().tobytes() for each in drawn)
    return hashlib.blake2b(content, digest_size=8).hexdigest()


@pytest.mark.parametrize("name", DRAWN)
def test_worlds_are_the_same_as_ever(name: str) -> None:
    of, (drawn, inputs, weights) = world(name), DRAWN[name]
    assert digest(of.groups, of.patterns, of.mixtures, of.main, of.strengths) == drawn
    # Products of matrices differ in their last bits between processors.
    assert float(of.inputs.double().sum()) == pytest.approx(inputs, rel=1e-5)
    assert float(of.weight.double().abs().sum()) == pytest.approx(weights, rel=1e-5)


def test_every_setting_is_held_to() -> None:
    assert {name.partition("@")[0] for name in DRAWN} == set(SETTINGS)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in HIERARCHICAL])
def test_other_worlds_have_no_parents(name: str) -> None:
    of = world(name)
    assert of.setting.n_classes == of.setting.n_concepts and of.setting.n_parents == 0
    assert of.parent_of.tolist() == [-1] * of.setting.n_concepts
    assert truth(of).parent_of is None
    assert load(name).class_hierarchy is None and len(load(name).classes) == of.setting.n_concepts


@pytest.mark.parametrize("name", HIERARCHICAL)
class TestHierarchy:
    def test_a_parent_is_active_where_a_child_is_with_its_own_strength(self, name: str) -> None:
        of = world(name)
        on = of.strengths > 0
        for parent in range(12, 16):
            children = [child for child in range(12) if int(of.parent_of[child]) == parent]
            assert children == [3 * (parent - 12) + child for child in range(3)]
            assert torch.equal(on[..., parent], on[..., children].any(2))
        child = of.strengths[..., :12].flatten(0, 1).argmax(1)
        rows = on.flatten(0, 1)[:, :12].any(1)
        flat = of.strengths.flatten(0, 1)
        pairs = torch.stack([flat[rows, child[rows]], flat[rows, of.parent_of[child[rows]]]])
        assert float(pairs.min()) >= 0.5 and float(pairs.max()) <= 1
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.05

    def test_images_have_a_main_child_as_their_class(self, name: str) -> None:
        of = world(name)
        assert torch.bincount(of.main).tolist() == [40] * 12
        on = of.strengths[..., :12] > 0
        with_main = on[torch.arange(480), :, of.main].double().mean()
        # Half of the tokens; in the mixed world also a twelfth of the fifth with a child drawn from all.
        assert float(with_main) == pytest.approx(0.5 + of.setting.others / 12, abs=0.02)
        assert float(on.double().sum(2).mean()) == pytest.approx(0.5 + of.setting.others, abs=0.02)
        others = on.sum((1, 2)) - on[torch.arange(480), :, of.main].sum(1)
        assert bool((others > 0).any()) == (name == "hierarchical_mixed")

    def test_concepts_have_separate_inputs_and_no_parts(self, name: str) -> None:
        of = world(name)
        assert of.groups.flatten().unique().numel() == 16 * 12 == of.setting.d_in
        planted = truth(of)
        assert (
            planted.parts is None
            and planted.parent_of is not None
            and planted.parent_of.tolist() == of.parent_of.tolist()
        )
        assert planted.writers.shape == (16, 24) and not of.bias.any()

    def test_the_images_have_the_parents_as_their_class_hierarchy(self, name: str) -> None:
        images = load(name)
        assert len(images) == 480 and len(images.classes) == 12
        expected = ClassHierarchy(
            tuple(f"parent {number}" for number in range(4)), (0,) * 3 + (1,) * 3 + (2,) * 3 + (3,) * 3, (-1,) * 4
        )
        assert images.class_hierarchy == expected
        split = images.split(evaluation=200)
        assert split.probing.class_hierarchy == split.evaluation.class_hierarchy == expected


def test_the_world_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"There is no planted world 'hierarchcal'\. Did you mean"):
        world("hierarchcal")
