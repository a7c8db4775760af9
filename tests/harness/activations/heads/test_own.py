"""The backbone's own head: whether the images have its classes, and what is printed and recorded about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.data import ImageNetInfo

from harness import backbones
from harness.activations.heads.own import OwnHead
from harness.backbones.base import Backbone
from harness.backbones.sources.base import LOCAL_CHECKPOINT
from harness.datasets.base import ImageRecord, ImageSet

IDS = tuple(ImageNetInfo("imagenet-1k").label_names())
WORDS = tuple(ImageNetInfo("imagenet-1k").label_descriptions())
HUGGING_FACE = (*WORDS[:517], "crane2", *WORDS[518:])
FAKE = tuple(f"n{number:08d}" for number in range(1, 1001))


@pytest.fixture(scope="module")
def classifier() -> Backbone:
    return dataclasses.replace(backbones.load("tiny_cnn"), n_classes=1000, head_labels="imagenet-1k")


def own(backbone: Backbone, classes: tuple[str, ...]) -> OwnHead:
    records = tuple(ImageRecord(f"{number:04d}", Path(), number) for number in range(len(classes)))
    return OwnHead(backbone, ImageSet("folder:x", records, classes), "folder:x", {})


def test_imagenet_in_index_order_keeps_its_identity(classifier: Backbone) -> None:
    head = own(classifier, IDS)
    assert head.class_index is not None and torch.equal(head.class_index, torch.arange(1000))
    assert head.identity() == {"kind": "own"} and head.notes() == []


def test_other_images_keep_their_identity_and_give_a_note(classifier: Backbone) -> None:
    head = own(classifier, ("animal", "food"))
    assert head.class_index is None and head.identity() == {"kind": "own"}
    [note] = head.notes()
    assert "No accuracy" in note and "none of the 2 classes of the images is one of ImageNet-1k" in note
    assert 'head = "probe"' in note


def test_invented_wordnet_ids_are_not_imagenet(classifier: Backbone) -> None:
    """Their accuracy was recorded under the identity without classes."""
    head = own(classifier, FAKE)
    assert head.class_index is None and head.identity() == {"kind": "own", "classes": None}
    assert "none of the 1000 classes" in head.notes()[0]
    mixed = own(classifier, (*IDS[:-1], "n00000001"))
    assert mixed.class_index is None and mixed.identity() == {"kind": "own", "classes": None}
    assert "999 of the 1000 classes" in mixed.notes()[0]


@pytest.mark.parametrize("classes", [HUGGING_FACE, IDS[:10], IDS[::-1], IDS[:999]])
def test_newly_recognised_classes_change_the_identity(classifier: Backbone, classes: tuple[str, ...]) -> None:
    head = own(classifier, classes)
    assert head.class_index is not None
    names = WORDS if classes is HUGGING_FACE else IDS
    expected = range(1000) if classes is HUGGING_FACE else [names.index(name) for name in classes]
    assert head.class_index.tolist() == list(expected)
    identity = head.identity()
    assert identity["kind"] == "own" and identity["classes"] == head.classes_identity() is not None
    [note] = head.notes()
    assert "are read as classes of ImageNet-1k" in note
    assert ("counts as wrong" in note) == (len(classes) < 1000)


def test_labels_are_mapped_to_the_classes_of_the_head(classifier: Backbone) -> None:
    kind = own(classifier, ("n01443537", "n01440764"))
    head = kind.make(Path())
    assert head.targets(torch.tensor([0, 1, -1, 0])).tolist() == [1, 0, -1, 1]


def test_labels_of_a_local_checkpoint_change_the_identity(classifier: Backbone) -> None:
    local = dataclasses.replace(classifier, source=LOCAL_CHECKPOINT)
    assert own(local, IDS).identity() == {"kind": "own", "classes": own(local, IDS).classes_identity()}
    assert own(local, FAKE).identity() == {"kind": "own"} == own(local, ("animal",)).identity()


def test_unknown_labels_give_a_note(classifier: Backbone) -> None:
    unknown = own(dataclasses.replace(classifier, head_labels=None), IDS)
    assert unknown.class_index is None and unknown.identity() == {"kind": "own"}
    assert "the labels of the head of tiny_cnn are unknown" in unknown.notes()[0]
    # resmlp_12_224.fb_dino: timm's 1000 classes were all read as ImageNet-1k's.
    dino = own(dataclasses.replace(classifier, head_labels=None, source="timm 1.0.31"), IDS)
    assert dino.class_index is None and dino.identity() == {"kind": "own", "classes": None}
    other = own(dataclasses.replace(classifier, head_labels="places365"), IDS)
    assert other.class_index is None and "places365" in other.notes()[0]
    few = own(dataclasses.replace(classifier, n_classes=500), IDS)
    assert few.class_index is None and "500 classes" in few.notes()[0]


def test_the_probe_has_the_classes_of_the_images() -> None:
    from harness.activations.heads.probe import Probe

    images = ImageSet("x", (ImageRecord("a", Path(), 0), ImageRecord("b", Path(), 1)), ("animal", "food"))
    probe = Probe(backbones.load("tiny_cnn"), images, "x", {})
    assert probe.notes() == [] and np.array_equal(probe.class_index, [0, 1])
