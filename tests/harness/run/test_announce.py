"""Preprocessing and notes of the targets, printed once for each backbone."""

from __future__ import annotations

from types import SimpleNamespace

from harness.backbones.preprocessing import IMAGENET_224
from harness.progress import Reporter
from harness.run.announce import announce_targets


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_every_backbone_is_announced_once():
    first = SimpleNamespace(name="a", preprocessing=IMAGENET_224, notes=("Assumed.",))
    second = SimpleNamespace(name="b", preprocessing=IMAGENET_224, notes=())
    listener = Listener()
    announce_targets([SimpleNamespace(backbone=each) for each in (first, first, second)], listener)
    announce_targets([SimpleNamespace(backbone=first)], listener)  # a second part of the suite
    described = "224 px centre crop after resizing the shorter side to 256 px, bicubic, ImageNet mean and std."
    assert listener.said == [f"a: {described}", "a: Assumed.", f"b: {described}"]
