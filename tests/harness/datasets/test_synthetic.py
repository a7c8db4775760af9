"""Synthetic images for timing: their numbers, split, classes and sizes; and wrong specs."""

from __future__ import annotations

import pytest

from harness import datasets
from harness.datasets.label_sets import IMAGENET_1K, load_label_set
from methods.errors import UserError
from results.rehearsals import DATASET


def test_the_split_has_the_given_numbers_of_images_of_imagenets_classes() -> None:
    images = datasets.load("synthetic:40+7")
    split = images.split(evaluation=100)
    assert (len(split.probing), len(split.evaluation), images.name) == (40, 7, DATASET) and DATASET == "synthetic"
    label_set = load_label_set(IMAGENET_1K)
    assert label_set is not None and images.classes == tuple(label_set.ids)
    assert split.evaluation.labels.tolist() == list(range(7))
    assert images.open(3).size == (500, 375)
    names = [record.name for record in images.records]
    assert names == sorted(names)


def test_sets_of_other_numbers_have_other_contents() -> None:
    prints = {datasets.load(f"synthetic:{n}+2").split(evaluation=1).probing.fingerprint for n in (2, 3, 40)}
    assert len(prints) == 3


@pytest.mark.parametrize("spec", ["", ":", ":5", ":0+3", ":3+0", ":-1+4", ":1+2+3", ":1.5+2", ":9999999+9999999", ":x"])
def test_a_wrong_spec_is_refused(spec: str) -> None:
    with pytest.raises(UserError, match="numbers of probing and evaluation images"):
        datasets.load(f"synthetic{spec}")
