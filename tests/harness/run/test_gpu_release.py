"""GPU memory that a run gives back before judges load their models."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import process_judges  # noqa: F401 - registers its panel
import pytest
import torch
from small_runs import suite_of
from torch import nn

from harness import backbones
from harness.executors.local import Local
from harness.progress import Silent
from harness.run import run
from harness.run.gpu_release import release_gpus
from results import open_store

pytestmark = pytest.mark.run


class Network(nn.Linear):
    """Network that notes where it is moved."""

    def __init__(self, events: list[str], refuses: bool = False) -> None:
        super().__init__(2, 2)
        self.events = events
        self.refuses = refuses

    def to(self, *arguments: Any, **options: Any) -> Network:
        self.events.append(f"network to {arguments[0]}")
        if self.refuses:
            raise RuntimeError("not movable")
        return self


class Idle(Local):
    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events

    def release(self) -> None:
        self.events.append("workers")


def target(events: list[str], **options: Any) -> Any:
    head = SimpleNamespace(release=lambda: events.append("head"))
    return SimpleNamespace(head=head, backbone=SimpleNamespace(model=Network(events, **options), text_tower=len))


def test_workers_networks_and_caches_are_released_and_what_is_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    said: list[str] = []
    reporter = Silent()
    reporter.say = said.append  # type: ignore[method-assign]
    monkeypatch.setattr("gc.collect", lambda: events.append("collect"))
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch._C._cuda_clearCublasWorkspaces", lambda: events.append("workspaces"), raising=False)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: events.append("cache"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda number: (2**20, 2**30)[number])
    targets = [target(events, refuses=True), target(events)]
    release_gpus(targets, Idle(events), reporter)
    assert events == ["workers", *["head", "network to cpu"] * 2, "collect", "workspaces", "cache"]
    assert [each.backbone.text_tower for each in targets] == [None, None]
    assert said == ["This process still uses 1.0 GiB of GPU 1, which the judges cannot use."]


def test_without_cuda_nothing_of_it_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        raise AssertionError("CUDA was used")

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: False)
    monkeypatch.setattr("torch.cuda.empty_cache", never)
    release_gpus([target([])], Idle([]), Silent())


@pytest.mark.parametrize("panel", ["processes", "proxy"])
def test_a_run_releases_them_before_a_judge_that_loads_a_model(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch, panel: str
) -> None:
    events: list[str] = []

    class Said(Silent):
        def say(self, sentence: str) -> None:
            events.append(sentence)

    monkeypatch.setattr("judges.processes.visible_gpus", lambda: ())
    monkeypatch.setattr("harness.run.loop.release_gpus", lambda *_: events.append("released"))
    settings = {
        "processes": {"panel": "processes", "judges": [{"name": "plain"}], "options": {"folder": str(tmp_path)}},
        "proxy": {"panel": "proxy", "judges": [{"name": "colour_texture"}]},
    }[panel]
    suite = suite_of(
        photo_folder,
        methods=[{"name": "identity"}, {"name": "random_split"}],
        evaluation={"top_images": 9, "batch_size": 9, "metrics": ["l0"]},
        judging={**settings, "pairs": 2},
    )
    summary = run(suite, tmp_path / "r.duckdb", device="cpu", reporter=Said())
    assert summary.failed == 0 and len(open_store(tmp_path / "r.duckdb").query("SELECT * FROM replies")) >= 8
    assert events.count("released") == (panel == "processes")
    if panel == "processes":
        started = next(number for number, sentence in enumerate(events) if "starts in process" in sentence)
        assert events.index("released") < started


@pytest.mark.gpu
def test_nothing_of_a_backbone_is_left_on_a_gpu() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    backbone = backbones.load("tiny_vit", device="cuda")
    backbone.features(backbone.blank_images(2))
    assert torch.cuda.memory_reserved() > before
    head = SimpleNamespace(release=lambda: None)
    release_gpus([SimpleNamespace(head=head, backbone=backbone)], Local(), Silent())  # type: ignore[list-item]
    assert torch.cuda.memory_allocated() == 0 and torch.cuda.memory_reserved() <= before
