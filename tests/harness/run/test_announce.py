"""Images, preprocessing and notes of the targets, printed once at the start of a run."""

from __future__ import annotations

from dataclasses import replace

from small_runs import suite_of

from harness.cells.plan import prepare
from harness.progress import Reporter
from harness.run.announce import announce, without_further_set


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_images_and_every_backbone_are_announced_once(tmp_path, photo_folder):
    [first] = prepare(
        suite_of(tmp_path, "identity", data={"dataset": f"folder:{photo_folder}", "evaluation": 0.5}), device="cpu"
    )
    noted = replace(first, backbone=replace(first.backbone, name="other", notes=("Assumed.",)))
    listener = Listener()
    announce([first, noted, first], listener)
    announce([first], listener)  # a second part of the suite
    described = first.backbone.preprocessing.describe()
    images, *others = listener.said
    assert images.startswith(first.dataset) and "for evaluation" in images
    assert others == [f"{first.backbone.name}: {described}.", f"other: {described}.", "other: Assumed."]


def test_a_metric_of_further_sets_without_one_is_announced(photo_folder):
    def sentences(metrics, **data):
        data = {"dataset": f"folder:{photo_folder}", "evaluation": 0.5, **data}
        suite = suite_of(photo_folder, "identity", data=data, evaluation={"metrics": metrics})
        return list(without_further_set(suite.leaves))

    (sentence,) = sentences(["r2", "probe_transfer"])
    assert sentence.startswith("probe_transfer will not be measured") and "data.evaluation_sets" in sentence
    assert not sentences(["r2", "probe_dense"])
    assert not sentences(["r2", "probe_transfer"], evaluation_sets=["folder:other"])
    assert not sentences(["r2", "probe_transfer"], evaluation_set="folder:other")
