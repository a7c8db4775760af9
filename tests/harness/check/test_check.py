"""Everything that is built in keeps the contract that plugins are held to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from documents import blocks
from misbehaving_server import serving
from paths import ROOT
from plugins import clean_registries, loaded

import methods
from harness import backbones, datasets
from harness.check import CheckReport, CheckTarget, check, targets
from harness.check.methods import small_settings
from harness.check.metrics import check_metric
from harness.check.world import CheckWorld, small_world
from harness.metrics.base import METRICS
from judges.panel import PANELS
from methods import UserError

pytestmark = pytest.mark.run

SLOW_BACKBONES = ("dinov2_small_saliency", "efficientnet_lite0")


def wrong(report: CheckReport) -> list[str]:
    return [f"{one.check}: {one.why}" for one in report.findings if not one.ok]


@pytest.fixture(scope="module")
def world() -> Iterator[CheckWorld]:
    with small_world() as made:
        yield made


# The library it uses takes longer to import than all others take to check.
SLOW_METHODS = ("archetypal_sae",)
# Timings: tests/harness/efficiency/test_efficiency.py measures them.
SLOW_METRICS = ("efficiency_ratio",)


def marked(names: list[str], slow: tuple[str, ...]) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


# It needs a file of weights, whose layer is not the small one: tests/methods/pretrained checks it on such a file. The
# other two need a layer with a known truth, and are there once the planted worlds are imported: tests/harness/planted.
NEED_A_TRUTH = ("oracle", "collapsed", "absorbing")
CHECKED_METHODS = [name for name in methods.names() if name not in ("pretrained_sae", *NEED_A_TRUTH)]


@pytest.mark.parametrize("name", marked(CHECKED_METHODS, SLOW_METHODS))
def test_every_method_keeps_the_contract(name: str) -> None:
    report = check(CheckTarget("method", name))
    assert wrong(report) == []
    assert len(report.findings) == 24


def test_the_documented_fit_that_divides_keeps_the_contract(tmp_path: Path) -> None:
    [text] = [block.text for block in blocks(ROOT / "docs" / "methods.md") if "DivisibleFit):" in block.text]
    (tmp_path / "quarters.py").write_text(text)
    with clean_registries():
        assert loaded(tmp_path / "quarters.py", "method") == ["quarters"]
        report = check(CheckTarget("method", "quarters"))
    assert wrong(report) == []
    assert next(one for one in report.findings if one.check == "same fit in parts").applies


@pytest.mark.parametrize("name", marked(METRICS.names(), SLOW_METRICS))
def test_every_metric_keeps_the_contract(name: str, world: CheckWorld) -> None:
    found = check_metric(METRICS.get(name), world)
    assert [f"{one.check}: {one.why}" for one in found if not one.ok] == []
    # Planted truth is on no layer but a planted one, and the images have no class hierarchy.
    assert sum(one.applies for one in found) >= (1 if name in ("recovery", "absorption") else 6)


@pytest.mark.parametrize("spec", ["photos:40", "folder", "imagenet", "planted:two_concepts"])
def test_every_image_set_keeps_the_contract(
    spec: str, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if spec == "folder":
        spec = f"folder:{photo_folder}"
    if spec == "imagenet":
        for part in ("train", "val"):
            (tmp_path / part).mkdir()
        for label in ("blue", "red"):
            (tmp_path / "train" / label).symlink_to(photo_folder / label)
        (tmp_path / "val" / "green").symlink_to(photo_folder / "green")
        monkeypatch.setenv("HARNESS_IMAGENET", str(tmp_path))
    (target,) = targets(spec, kind="dataset")
    report = check(target)
    assert wrong(report) == [] and report.kind == "dataset"
    assert str(photo_folder) not in str(report.findings)


def test_no_image_set_is_left_out() -> None:
    # What is not named above needs the package datasets, or a person's own files; synthetic images are those of a
    # rehearsal.
    assert set(datasets.names()) == {
        "clipart", "folder", "hf", "imagenet", "openmoji", "parquet", "photos", "planted", "stamps", "synthetic",
        "textiles", "webdataset",
    }  # fmt: skip


@pytest.mark.slow
def test_the_panel_of_people_keeps_the_contract_if_nobody_has_joined() -> None:
    assert wrong(check(CheckTarget("judge", "people"))) == []


def test_the_proxy_panel_keeps_the_contract() -> None:
    assert wrong(check(CheckTarget("judge", "proxy"))) == []


def test_a_panel_behind_a_server_is_asked() -> None:
    with serving(lambda number: "right") as server:
        report = check(CheckTarget("judge", "openai"), {"base_url": server.url, "backoff_s": 0.0})
    # The server answers A whatever it is shown, and that is all that is wrong with it.
    assert [one.check for one in report.findings if not one.ok] == ["depends on the grids"]
    assert len(report.findings) == 8


def test_panels_that_need_what_is_not_here_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert set(PANELS.names()) >= {"openai", "people", "proxy", "vllm"}
    (why,) = wrong(check(CheckTarget("judge", "openai")))
    assert "OPENAI_BASE_URL" in why
    (why,) = wrong(check(CheckTarget("judge", "vllm")))
    assert "vllm" in why and "pip install" in why


@pytest.mark.parametrize("spec", marked(["tiny_vit", "tiny_cnn", *SLOW_BACKBONES], SLOW_BACKBONES))
def test_backbones_keep_the_contract(spec: str) -> None:
    found = {one.check: one for one in check(CheckTarget("backbone", spec)).findings}
    broken = {name for name, one in found.items() if not one.ok}
    # The tests' own two pass a checkpoint over.
    assert broken == ({"checkpoint"} if spec.startswith("tiny") else set())


def test_names_are_looked_up_among_all_kinds() -> None:
    assert targets("topk_sae") == [CheckTarget("method", "topk_sae")]
    assert targets("timm:test_vit") == [CheckTarget("backbone", "timm", "test_vit")]
    assert targets("folder:x") == [CheckTarget("dataset", "folder", "x")]
    with pytest.raises(UserError, match="Did you mean elude"):
        targets("eldue")
    with pytest.raises(UserError, match="Did you mean metric"):
        targets("r2", kind="metrics")
    with pytest.raises(UserError, match="no method, metric"):
        targets("r2:x")
    with pytest.raises(UserError, match="no plugin file"):
        targets("absent.py")
    with pytest.raises(UserError, match="a metric has no settings"):
        check(CheckTarget("metric", "r2"), {"k": 1})
    with pytest.raises(UserError, match=r"topk_sae\.k = 0"):
        check(CheckTarget("method", "topk_sae"), {"k": 0})


def test_a_check_is_small_and_says_with_what() -> None:
    assert small_settings(methods.METHODS.get("topk_sae"))["epochs"] == 3
    assert check(CheckTarget("method", "topk_sae"), {"epochs": 1}).settings["epochs"] == 1
    assert check(CheckTarget("method", "identity")).settings == {}


def test_checks_disturb_no_generator() -> None:
    before = torch.random.get_rng_state()
    check(CheckTarget("method", "random_split"))
    check(CheckTarget("backbone", "tiny_cnn"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_name_that_is_two_things_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones.BACKBONES, "entries", dict(backbones.BACKBONES.entries))
    backbones.BACKBONES.entries["r2"] = backbones.BACKBONES.entries["tiny_cnn"]
    with pytest.raises(UserError, match=r"a metric and a backbone; choose one, e\.g\. with --kind metric"):
        targets("r2")
    assert targets("r2", kind="backbone") == [CheckTarget("backbone", "r2")]
