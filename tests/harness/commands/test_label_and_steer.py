"""``harness label`` and ``harness steer``: from a run to labels, effects and scores, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import harness

from results import open_store

pytestmark = pytest.mark.run

SUITE = """
name = "own"
description = "One cell on EfficientNet-Lite0."
[data]
dataset = "folder:{folder}"
evaluation = 18
[seeds]
tokens = [1]
init = [42]
[probing]
crops = 1
tokens_per_image = 8
[evaluation]
top_images = 6
metrics = ["ms_score", "l0", "r2"]
[[targets]]
backbone = "efficientnet_lite0"
site = "conv_head"
head = "own"
[[methods]]
name = "random_split"
config = {{ parts = 2 }}
"""


@pytest.fixture(scope="module")
def folder(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite of photographs on EfficientNet-Lite0, and its finished cells."""
    folder = tmp_path_factory.mktemp("steered")
    (folder / "own.toml").write_text(SUITE.format(folder=photo_folder))
    harness("run", "--suite", "own.toml", "--store", "r.duckdb", cwd=folder)
    return folder


def called(folder: Path, *arguments: str, code: int = 0) -> Any:
    return harness(*arguments, "--store", "r.duckdb", cwd=folder, code=code)


def test_units_are_labelled_and_steered(folder: Path) -> None:
    scorers = ("--scorer", "classifier", "--scorer", "classes")
    labelled = called(folder, "label", "--suite", "own.toml", *scorers, "--top", "2")
    assert "the same network" in labelled.stderr + labelled.stdout
    assert "2 labellings computed, 0 kept" in labelled.stdout
    assert "p <= 0.05 against permuted images" in " ".join(labelled.stdout.split())
    scores = open_store(folder / "r.duckdb").scores()
    directions = scores[scores["metric"] == "labelled_share"]
    assert sorted(directions["direction"]) == ["higher", "none"], "EfficientNet-Lite0 names its own units"
    again = json.loads(
        called(folder, "label", "--suite", "own.toml", "--scorer", "classes", "--json", "--top", "1").stdout
    )
    assert [each["kept"] for each in again] == [True] and len(again[0]["best"]) == 1
    cell, word = again[0]["cell_id"], again[0]["best"][0]["label"]
    steered = called(
        folder, "steer", "--suite", "own.toml", "--cell", cell[:8], "--amplify", word, "--scorer", "classes",
        "--matcher", "words", "--nu", "all", "--kappa", "5", "--keep",
    )  # fmt: skip
    assert "5 units edited, matched by words@1" in steered.stdout and "KL(before || after)" in steered.stdout
    scored = json.loads(called(folder, "steer", "--suite", "own.toml", "--score", "--kappa", "3", "--json").stdout)
    assert scored[0]["scores"]["steering_effect"]["n"] >= 2
    board = called(folder, "leaderboard", "--json").stdout
    assert all(f'"{metric}"' in board for metric in ("steering_effect", "labelled_share", "label_agreement"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("steer", "--amplify", "dog"), "Name one cell with --cell"),
        (("steer", "--cell", "random split"), "Name a concept"),
        (("steer", "--cell", "random split", "--amplify", "a", "--nu", "some"), "--nu some: give a number of patches"),
        (("steer", "--score", "--amplify", "dog"), "--amplify cannot be used with --score"),
        (("steer", "--cell", "x", "--amplify", "a", "--random-units"), "belong to --score"),
        (("steer", "--cell", "x", "--amplify", "a", "--prompt", "p"), "--prompt belongs to --captions"),
        (("steer", "--cell", "x", "--amplify", "a", "--captions", "m"), "Name the images to describe"),
        (("label", "--option", "draws"), "--option draws: give KEY=VALUE"),
        (("label", "--scorer", "classes", "--scorer", "clip", "--option", "draws=30"), "say which: classes.draws"),
        (("label", "--concepts", "common"), "--concepts is for the scorer clip"),
        (("label", "--scorer", "klass"), "Did you mean"),
    ],
)
def test_mistakes_are_answered_with_one_sentence(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    done = called(folder, *arguments, code=2)
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


PLUGIN = """
import torch
from harness.steering.scorers import SCORERS
from harness.steering.scorers.base import ProbabilityScorer

@SCORERS.register()
class Bright(ProbabilityScorer):
    name = "bright"
    version = 1
    description = "bright or dark"

    def identity(self, images):
        return self.settings.model_dump(mode="json")

    def probabilities(self, images, progress):
        {body}
        pixels = [images.images.open(int(index)).convert("L").resize((4, 4)) for index in images.readable]
        bright = torch.tensor([sum(each.getdata()) / 16 / 255 for each in pixels])
        return ("bright", "dark"), torch.stack([bright, 1 - bright], 1)
"""


def test_a_scorer_of_a_plugin_is_listed_and_used_and_its_error_is_named(folder: Path) -> None:
    (folder / "scorer.py").write_text(PLUGIN.format(body=""))
    assert "bright or dark" in harness("list", "scorers", "--plugin", "scorer.py", cwd=folder).stdout
    arguments = ("label", "--suite", "own.toml", "--plugin", "scorer.py", "--scorer", "bright", "--json")
    (labelled,) = json.loads(called(folder, *arguments).stdout)
    assert labelled["scorer"] == "bright" and {row["label"] for row in labelled["best"]} <= {"bright", "dark"}
    (folder / "broken.py").write_text(PLUGIN.replace('"bright"', '"broken"', 1).format(body="1 / 0"))
    done = called(folder, "label", "--suite", "own.toml", "--plugin", "broken.py", "--scorer", "broken", code=2)
    assert "broken" in done.stderr and "ZeroDivisionError" in done.stderr and "Traceback" not in done.stderr
