"""Doctor: what is missing is said before a run, with what brings it; nothing is loaded, downloaded or waited for."""

from __future__ import annotations

import importlib
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import harness
from torch.utils.flop_counter import FlopCounterMode

from harness import doctor
from harness.doctor import Check, estimate, needs
from harness.doctor.environment import installed_package
from harness.doctor.layers import Layer, layer_of
from harness.doctor.steps import fit_flops
from harness.doctor.workload import Job
from harness.errors import UserError
from harness.run import run
from harness.suites import Suite, load_suite, parse_suite, with_overrides, with_settings
from methods import METHODS
from methods.base import make_config

#: As it is; the tests see a function that finds no host.
REACHABLE = needs.reachable

BACKBONES = ("augreg_vit_base", "dinov2_vitb14", "dinov2_vits14", "dinov2_vitl14", "siglip2_base", "convnextv2_base")


@pytest.fixture(autouse=True)
def cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no caches, no ImageNet."""
    monkeypatch.setattr("harness.doctor.needs.reachable", lambda host: False)
    monkeypatch.setattr("harness.backbones.sources.hub.in_huggingface_cache", lambda repository: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HARNESS_IMAGENET", raising=False)


def small(**changes: Any) -> Suite:
    return parse_suite(
        {
            "name": "small",
            "data": {"dataset": "photos:20", "evaluation": 8},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": [{"name": "identity"}],
            **changes,
        }
    )


def test_the_paper_without_anything_says_so_on_one_screen(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        doctor.require(load_suite("paper"), tmp_path / "r.duckdb", device="cpu")
    text = str(caught.value)
    for part in (
        "HARNESS_IMAGENET",
        "--dataset folder:PATH",
        "vllm",
        "umap",
        "--scale tiny",
        "`harness doctor` with the same options",
    ):
        assert part in text
    weights = "\n".join(line for line in text.splitlines() if "MISS  weights of " in line)
    assert all(name in weights for name in BACKBONES)
    assert "--set target.NAME.checkpoint=FILE" in text
    # One screen of 80 columns.
    assert sum(1 + len(line) // 80 for line in text.splitlines()) <= 40
    assert list(tmp_path.iterdir()) == []


def test_run_ends_with_code_2_and_doctor_with_code_1(tmp_path: Path) -> None:
    gone = {"TORCH_HOME": str(tmp_path), "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = harness("run", "--suite", "paper", cwd=tmp_path, code=2, **gone)
    assert "paper cannot run here" in done.stderr and "HARNESS_IMAGENET" in done.stderr
    done = harness("doctor", "--suite", "table2", cwd=tmp_path, code=1, **gone)
    assert "60 cells, and 252 of the sweeps" in done.stdout and "81,180 questions" in done.stdout
    assert not (tmp_path / "outputs").exists()


def test_local_weights_and_own_images_are_all_that_table_2_needs(tmp_path: Path, photo_folder: Path) -> None:
    suite = with_overrides(load_suite("table2"), dataset=f"folder:{photo_folder}")
    for name in ("augreg_vit_base", "dinov2_vitb14"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
        suite = with_settings(suite, [f"target.{name}.checkpoint={tmp_path / name}.safetensors"])
    with pytest.raises(UserError, match=r"linear head of dinov2_vitb14: not on this machine, and dl\.fbaipublicfiles"):
        doctor.require(suite, tmp_path / "r.duckdb", device="cpu")
    head = tmp_path / "dinov2_vitb14_linear_head.pth"
    suite = with_settings(suite, [f"target.dinov2_vitb14.head_settings.checkpoint={head}"])
    with pytest.raises(UserError, match=r"there is no file '.*linear_head\.pth'"):
        doctor.require(suite, tmp_path / "r.duckdb", device="cpu")
    head.write_bytes(b"weights")
    assert doctor.require(suite, tmp_path / "r.duckdb", device="cpu").left_out == []
    with pytest.raises(UserError, match=r"there is no file 'gone\.pth'"):
        doctor.require(
            with_settings(suite, ["target.dinov2_vitb14.checkpoint=gone.pth"]), tmp_path / "r.duckdb", device="cpu"
        )


def test_what_is_missing_can_be_left_out(tmp_path: Path) -> None:
    suite = small(
        targets=[{"backbone": "tiny_vit"}, {"backbone": "dinov2_vitb14"}],
        methods=[{"name": "identity"}, {"name": "elude", "label": "UMAP", "config": {"umap_dims": 3}}],
    )
    with pytest.raises(UserError, match="With --skip-missing"):
        doctor.require(suite, tmp_path / "r.duckdb", device="cpu")
    able = doctor.require(suite, tmp_path / "r.duckdb", device="cpu", skip=True)
    assert [target.backbone for target in able.suite.targets] == ["tiny_vit"]
    umap_there = needs._has("umap")
    assert len(able.suite.methods_of(able.suite.targets[0])) == (2 if umap_there else 1)
    assert any("dinov2_vitb14" in sentence for sentence in able.left_out)
    with pytest.raises(UserError, match="No part of the suite can run"):
        doctor.require(small(targets=[{"backbone": "dinov2_vitb14"}]), tmp_path / "r.duckdb", skip=True)


def test_a_missing_head_stops_its_targets_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "w.safetensors"
    weights.touch()
    dinov2 = {"backbone": "dinov2_vits14", "checkpoint": str(weights)}
    suite = small(targets=[{**dinov2, "head": "probe"}, {**dinov2, "head": "dinov2_linear"}])
    able = doctor.require(suite, tmp_path / "r.duckdb", device="cpu", skip=True)
    assert [target.head for target in able.suite.targets] == ["probe"]
    assert any("linear head of dinov2_vits14" in sentence for sentence in able.left_out)
    monkeypatch.setattr("harness.doctor.needs.reachable", lambda host: True)
    checks = {need.check.what: need.check for need in needs.needs(suite)}
    assert "will be downloaded from dl.fbaipublicfiles.com" in checks["linear head of dinov2_vits14"].found
    assert doctor.require(suite, tmp_path / "r.duckdb", device="cpu").left_out == []


def test_every_run_looks_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="weights of dinov2_vits14"):
        run(small(targets=[{"backbone": "tiny_vit"}, {"backbone": "dinov2_vits14"}]), tmp_path / "r.duckdb")
    assert list(tmp_path.iterdir()) == []


def test_missing_judges_stop_nothing(tmp_path: Path) -> None:
    suite = small(judging={"panel": "openai", "options": {"api_key_env": "NO_SUCH_KEY"}})
    examined = doctor.examine_suite(suite, tmp_path / "r.duckdb", device="cpu")
    assert any("only LLM Rank is missing" in sentence for sentence in examined.runs)
    assert doctor.require(suite, tmp_path / "r.duckdb", device="cpu").left_out == []
    few = small(judging={"panel": "proxy"}, evaluation={"top_images": 4})
    assert any(need.check.what == "top images for grids" and not need.check.ok for need in needs.needs(few))


def test_a_full_disk_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = load_suite("demo")
    takes = estimate(suite).disk_bytes
    assert takes is not None
    monkeypatch.setattr("harness.doctor.disk_needs.free_bytes", lambda folder: takes - 1)
    with pytest.raises(UserError, match="--cache FOLDER"):
        doctor.require(suite, tmp_path / "r.duckdb", device="cpu")
    monkeypatch.setattr("harness.doctor.disk_needs.free_bytes", lambda folder: takes)
    assert doctor.require(suite, tmp_path / "r.duckdb", device="cpu").suite is suite


def test_targets_that_do_not_fit_on_the_disk_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [("dinov2_small_saliency", "blocks.9.mlp.fc2"), ("efficientnet_lite0", "conv_head")]
    both = small(targets=[{"backbone": name, "site": site} for name, site in layers])
    sizes = [estimate(both.model_copy(update={"targets": (target,)})).disk_bytes or 0 for target in both.targets]
    assert estimate(both).disk_bytes == sum(sizes)

    def left(free: int) -> list[str]:
        monkeypatch.setattr("harness.doctor.disk_needs.free_bytes", lambda folder: free)
        able = doctor.require(both, tmp_path / "r.duckdb", device="cpu", skip=True)
        assert len(able.left_out) == 2 - len(able.suite.targets)
        return [target.backbone for target in able.suite.targets]

    assert left(sum(sizes)) == [name for name, _ in layers]
    assert left(sum(sizes) - 1) == ["dinov2_small_saliency"]
    # The first target does not fit, and the smaller one after it does.
    assert sizes[1] < sizes[0] and left(sizes[0] - 1) == ["efficientnet_lite0"]
    with pytest.raises(UserError, match=r"disk space of dinov2_small_saliency at blocks\.9\.mlp\.fc2 \(.*MiB\)"):
        doctor.require(both, tmp_path / "r.duckdb", device="cpu")
    monkeypatch.setattr("harness.doctor.disk_needs.free_bytes", lambda folder: 1)
    with pytest.raises(UserError, match="No part of the suite can run"):
        doctor.require(both, tmp_path / "r.duckdb", device="cpu", skip=True)


def test_states_are_used_if_there_is_room_and_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = {"backbone": "dinov2_small_saliency", "site": "blocks.9.mlp.fc2", "head": "probe"}
    states = 8 * 257 * 384 * 4
    with_states = estimate(small(targets=[layer]))
    assert with_states.state_bytes == states
    monkeypatch.setattr("harness.activations.prefix_cache.SIZE_LIMIT", states - 1)
    without = estimate(small(targets=[layer]))
    assert without.state_bytes == 0 and without.disk_bytes == with_states.disk_bytes
    paper = estimate(load_suite("paper"))
    assert 570 < (paper.disk_bytes or 0) / 2**30 < 580
    # The paper's layers are among the last ones, so a pass from their states is a small part of the network.
    monkeypatch.undo()
    assert (estimate(load_suite("paper")).gpu_hours or 0) < (paper.gpu_hours or 0) - 2


def test_an_unreachable_hub_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "PATIENCE", 0.05)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: time.sleep(30))
    REACHABLE.cache_clear()
    assert REACHABLE("slow.invalid") is False
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: [])
    assert REACHABLE("there.invalid") is True
    REACHABLE.cache_clear()


def test_a_misspelt_timm_name_is_a_miss_that_no_download_would_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.doctor.needs.reachable", lambda host: True)
    suite = small(targets=[{"backbone": "timm:vit_tiny_patch16_22"}])
    check = next(need.check for need in needs.needs(suite) if need.check.what.startswith("weights of timm:"))
    assert not check.ok and "Did you mean vit_tiny_patch16_224" in check.found and "Correct the name" in check.remedy


def test_a_reachable_hub_is_no_miss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("harness.doctor.needs.reachable", lambda host: True)
    suite = small(targets=[{"backbone": "dinov2_vitb14"}, {"backbone": "timm:vit_tiny_patch16_224"}])
    checks = {need.check.what: need.check for need in needs.needs(suite)}
    assert checks["weights of dinov2_vitb14"].ok and "will be downloaded" in checks["weights of dinov2_vitb14"].found
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    checks = {need.check.what: need.check for need in needs.needs(suite)}
    assert checks["weights of dinov2_vitb14"].ok and not checks["weights of timm:vit_tiny_patch16_224"].ok
    assert 'target."timm:vit_tiny_patch16_224"' in checks["weights of timm:vit_tiny_patch16_224"].remedy


def test_what_is_missing_for_one_reason_is_one_line() -> None:
    def weights(name: str, found: str = "gone", ok: bool = False) -> doctor.Check:
        return doctor.Check(f"weights of {name}", ok, True, found, "" if ok else f"fetch {name}")

    disk = doctor.Check("disk", False, True, "full", "empty it")
    found = doctor.grouped([weights("a"), disk, weights("b"), weights("c", "elsewhere"), weights("d", "here", True)])
    assert found == [
        weights("a")._replace(what="weights of a, b", remedy="fetch NAME"),
        disk,
        weights("c", "elsewhere"),
        weights("d", "here", True),
    ]


def test_a_package_and_weights_that_are_missing_are_both_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "_has", lambda module: module != "transformers")
    [need] = [
        need for need in needs.needs(small(targets=[{"backbone": "siglip2_base"}])) if "weights" in need.check.what
    ]
    assert "transformers is not installed, and they are not on this machine" in need.check.found
    assert "[hf]" in need.check.remedy and "target.siglip2_base.checkpoint=FILE" in need.check.remedy


def test_disk_of_known_token_sets() -> None:
    # 20 images, of which 8 are evaluated: 12 x 2 tokens x (1536 + 384) float32; 8 x 257 tokens x 384 float32;
    # 20 bytes of index per token.
    suite = small(targets=[{"backbone": "dinov2_small_saliency", "site": "blocks.9.mlp.fc2", "head": "probe"}])
    assert estimate(suite).disk_bytes == 12 * 2 * (1920 * 4 + 20) + 8 * 257 * (384 * 4 + 20)
    assert estimate(suite).state_bytes == 8 * 257 * 384 * 4
    assert estimate(small(data={"dataset": "folder:somewhere"})).disk_bytes is None
    unknown = estimate(small())
    assert "tiny_vit" in unknown.notes[0]


def test_hours_of_training_count_a_multiply_add_as_two_flops() -> None:
    """The GPU rates are FLOP/s. torch's counter, too, counts two FLOPs per multiply-add."""
    width, n_units, n_tokens = 16, 64, 8
    encoder, decoder = (torch.randn(n_units, width, requires_grad=True) for _ in range(2))
    x = torch.randn(n_tokens, width)
    with FlopCounterMode(display=False) as counter:
        (torch.relu(x @ encoder.T) @ decoder - x).square().sum().backward()
    counted = counter.get_total_flops() / n_tokens / (encoder.numel() + decoder.numel())
    layer = Layer(d_in=16, d_out=width, tokens=1, gflops=0)
    config = make_config(METHODS.get("vanilla_sae"), {"epochs": 1, "expansion_factor": n_units / width})
    job = Job("vanilla_sae", config, layer, n_tokens=n_tokens, evaluated=0, full_fit=True)
    estimated = fit_flops(job, layer) / n_tokens / (encoder.numel() + decoder.numel())
    # The encoder needs no gradient of its input, which the estimate includes.
    assert counted == 5 and estimated == pytest.approx(6)


def test_shared_cells_token_sets_and_fits_are_counted_once() -> None:
    table2, table5 = estimate(load_suite("table2")), estimate(load_suite("table5"))
    both = estimate(parse_suite({"name": "both", "parts": (load_suite("table2"), load_suite("table5"))}))
    assert both.cells == table2.cells + table5.cells and both.sweep_cells == table2.sweep_cells
    assert both.disk_bytes == table2.disk_bytes
    assert both.gpu_hours is not None and table2.gpu_hours is not None and table5.gpu_hours is not None
    # The timings are those of the second table alone.
    timed = (
        sum(s.seconds for s in table5.steps if s.step in ("timing in the network", "compilation of networks")) / 3600
    )
    assert table2.gpu_hours + timed < both.gpu_hours < table2.gpu_hours + timed + 0.2 * (table5.gpu_hours - timed)


@pytest.mark.parametrize("name", ["dinov2_vits14", "augreg_vit_base", "dinov2_small_saliency"])
def test_known_layers_are_what_the_models_have(name: str) -> None:
    from harness import backbones
    from harness.activations.linear_site import LinearLayerSite

    weights = name == "dinov2_small_saliency"
    backbone = backbones.load(name, weights=weights)
    site = LinearLayerSite(backbone.model, backbone.default_site or "")
    layer = layer_of(name, backbone.default_site)
    assert layer is not None and (layer.d_in, layer.d_out) == (site.d_in, site.d_out)


def test_optional_packages_are_found_by_their_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cuml").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed_package("cuml-cu12", "get it").ok, "a folder is no package"
    (tmp_path / "cuml" / "__init__.py").write_text("raise RuntimeError('no GPU')")
    importlib.invalidate_caches()
    # Of another distribution (cuml-cu13), and never imported.
    assert installed_package("cuml-cu12", "get it") == Check("cuml-cu12", True, False, "installed")
    assert installed_package("numpy", "").found[0].isdigit()


def test_the_reason_is_the_first_that_holds() -> None:
    """A model that does not exist cannot be downloaded; a folder that does not exist has no folders in it."""
    for backbone, reason in (
        ("timm:vit_tiny_patch16", r"timm has no model 'vit_tiny_patch16'"),
        ("timm:vit_tiny_patch16_224", "cannot be reached"),
    ):
        with pytest.raises(UserError, match=reason):
            doctor.require(small(targets=[{"backbone": backbone}]), "r.duckdb", device="cpu")
    for dataset, reason in (
        ("imagenet:/nowhere", "there is no folder '/nowhere'"),
        ("clipart:/nowhere", r"not on this machine[\s\S]*apt-get install openclipart-png"),
        ("stamps:/nowhere", r"not on this machine[\s\S]*apt-get install tuxpaint-stamps-default"),
        ("openmoji:/nowhere", r"not on this machine[\s\S]*(npm install openmoji|pip install resvg-py)"),
    ):
        with pytest.raises(UserError, match=reason):
            doctor.require(small(data={"dataset": dataset, "evaluation": 8}), "r.duckdb", device="cpu")


def test_a_fit_that_a_control_needs_counts_unless_a_cell_before_it_has_it() -> None:
    layer = {"backbone": "dinov2_small_saliency", "site": "blocks.9.mlp.fc2", "head": "probe"}
    elude = {"name": "elude", "config": {"top_k": 20, "min_cluster_size": 5}}
    control = {"name": "random_split", "config": {"counts_of": elude}}

    def fits(*entries: dict[str, Any]) -> float:
        suite = small(targets=[layer], methods=entries, seeds={"tokens": [1], "init": [1, 2]})
        return sum(step.seconds for step in estimate(suite).steps if step.stage == "clustering")

    fit = fits(elude)
    assert fit > 0 == fits({"name": "random_split"})
    assert fits(elude, control) == pytest.approx(fit)
    # Alone it is fitted for both init seeds, since no cell has the fit.
    assert fits(control) == pytest.approx(2 * fit)


def test_the_packages_of_a_counted_method_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "_has", lambda module: module != "umap")
    counts_of = {"name": "elude", "config": {"umap_dims": 2, "top_k": 20, "min_cluster_size": 5}}
    suite = small(methods=[{"name": "random_split", "label": "control", "config": {"counts_of": counts_of}}])
    [need] = [need for need in needs.needs(suite) if need.stops == "method"]
    assert need.check.what == "umap-learn, for control" and "[umap]" in need.check.remedy
