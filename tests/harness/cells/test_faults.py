"""Faults must not lead to wrong numbers, lost results, or caches that stay broken."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from paths import ROOT, SUPPORT
from small_runs import scores, suite_of
from torch import nn

import methods
from harness import datasets
from harness.activations.linear_site import LinearLayerSite
from harness.atomic import create_partial, remove_leftovers, replace_atomically
from harness.datasets.base import ImageSet
from harness.errors import UserError
from harness.metrics.base import METRICS, Metric, Outcome
from harness.run import run
from harness.suites import parse_suite, with_overrides
from methods.identity import Identity
from methods.plugin_files import load_plugin_file
from results import leaderboard, open_store

pytestmark = pytest.mark.run

STORE = "r.duckdb"


@pytest.fixture
def registered() -> Iterator[list[str]]:
    """Names that a test registers, taken back afterwards."""
    names: list[str] = []
    yield names
    for name in names:
        methods.METHODS.entries.pop(name, None)
        METRICS.entries.pop(name, None)


@pytest.fixture
def plain(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of two methods that may be damaged."""
    folder = tmp_path_factory.mktemp("plain")
    run(suite_of(photo_folder, "identity", "topk_sae", seeds={"tokens": [1]}), folder / STORE)
    return folder


def damage_targets() -> list[str]:
    return [
        *(f"baselines/*/{name}" for name in ("index.npy", "logits.f32", "meta.json", "states.f32")),
        *(f"baselines/*/tokens/{name}" for name in ("index.npz", "meta.json", "output-00000.npy")),
        *(f"tokens/*/{name}" for name in ("index.npz", "meta.json", "input-00000.npy")),
        "heads/*.safetensors",
    ]


@pytest.mark.parametrize(
    ("keep", "each"),
    [
        pytest.param("nothing", 1, marks=pytest.mark.slow),
        pytest.param("half", 1, marks=pytest.mark.slow),
        pytest.param("half", 4, id="half of each fourth file"),
    ],
)
def test_damaged_cache_files_are_made_again(photo_folder: Path, plain: Path, keep: str, each: int) -> None:
    before = scores(plain / STORE)
    suite = suite_of(photo_folder, "identity", "topk_sae", seeds={"tokens": [1]})
    for pattern in damage_targets()[::each]:
        [file] = (plain / "cache").glob(pattern)
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2] if keep == "half" else b"")
        summary = run(suite, plain / STORE, rerun=True)
        assert summary.failed == 0, f"{pattern}: {open_store(plain / STORE).cells().error_message.tolist()}"
        pd.testing.assert_frame_equal(scores(plain / STORE), before)
        assert not list((plain / "cache").rglob(".partial-*"))


def test_an_image_that_can_be_read_again_is_not_left_out_for_ever(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_of(photo_folder, "identity", "elude", seeds={"tokens": [1]})
    run(suite, tmp_path / "right" / STORE)
    right = scores(tmp_path / "right" / STORE)
    healthy = ImageSet.open
    split = datasets.load(f"folder:{photo_folder}").split(evaluation=18)
    unlucky = {split.evaluation.records[0].name, split.probing.records[3].name}

    def flaky(self: ImageSet, index: int) -> Any:
        if self.records[index].name in unlucky:
            raise datasets.BrokenImageError(self.records[index].name, "Input/output error")
        return healthy(self, index)

    store = tmp_path / "flaky" / STORE
    monkeypatch.setattr(ImageSet, "open", flaky)
    first = run(suite, store)
    assert first.broken_images == 2
    notes = open_store(store).cells().notes
    assert all(any("2 images skipped" in sentence for sentence in cell) for cell in notes)
    again = run(suite, store, rerun=True)
    assert again.broken_images == 2, "reported by every run, not only by the one that filled the cache"
    monkeypatch.setattr(ImageSet, "open", healthy)
    mended = run(suite, store, rerun=True)
    assert mended.broken_images == 0
    # To the bit, the probe and what it says of the unmodified network included.
    pd.testing.assert_frame_equal(scores(store), right, check_exact=True)


def test_a_probe_is_fitted_again_when_its_images_can_be_read(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a probing image is unlucky, so that the baseline has all its own images."""
    suite = suite_of(photo_folder, "identity", seeds={"tokens": [1]})
    run(suite, tmp_path / "right" / STORE)
    healthy = ImageSet.open
    unlucky = datasets.load(f"folder:{photo_folder}").split(evaluation=18).probing.records[3].name

    def flaky(self: ImageSet, index: int) -> Any:
        if self.records[index].name == unlucky:
            raise datasets.BrokenImageError(unlucky, "Input/output error")
        return healthy(self, index)

    monkeypatch.setattr(ImageSet, "open", flaky)
    run(suite, tmp_path / "flaky" / STORE)
    monkeypatch.setattr(ImageSet, "open", healthy)
    run(suite, tmp_path / "flaky" / STORE, rerun=True)
    for kept in ("heads/*.safetensors", "baselines/*/logits.f32"):
        [right], [mended] = ((tmp_path / name / "cache").glob(kept) for name in ("right", "flaky"))
        assert right.read_bytes() == mended.read_bytes(), kept


def test_a_failing_rerun_keeps_the_earlier_result(
    photo_folder: Path, tmp_path: Path, registered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_of(photo_folder, "identity")
    run(suite, tmp_path / STORE)
    before = scores(tmp_path / STORE)

    def fails(*args: Any, **kwargs: Any) -> None:
        raise MemoryError("out of memory")

    monkeypatch.setattr(Identity, "fit", fails)
    assert run(suite, tmp_path / STORE, rerun=True).failed == 2
    assert set(open_store(tmp_path / STORE).cells().status) == {"finished"}
    pd.testing.assert_frame_equal(scores(tmp_path / STORE), before)


def variant(name: str, registered: list[str], **members: Any) -> None:
    registered.append(name)
    methods.register(type(name, (Identity,), {"spec": Identity.spec._replace(name=name, title=name), **members}))


def test_failed_arithmetic_and_rude_methods_are_failed_cells(
    photo_folder: Path, tmp_path: Path, registered: list[str]
) -> None:
    def leave(*args: Any, **kwargs: Any) -> None:
        sys.exit(0)

    variant("nan", registered, decode=lambda self, codes: codes * torch.nan)
    variant("in_place", registered, decode=lambda self, codes: codes.mul_(0))
    variant("leaver", registered, fit=leave)
    suite = suite_of(photo_folder, "nan", "in_place", "leaver", "identity", seeds={"tokens": [1]})
    summary = run(suite, tmp_path / STORE)
    assert (summary.finished, summary.failed) == (1, 3)
    cells = open_store(tmp_path / STORE).cells().set_index("method")
    assert "NaN" in cells.error_message["nan"]
    assert "changes the codes" in cells.error_message["in_place"]
    assert cells.error_type["leaver"] == "SystemExit"


def test_a_metric_that_raises_stops_nothing_else(photo_folder: Path, tmp_path: Path, registered: list[str]) -> None:
    registered.append("divides")

    @METRICS.register()
    class Divides(Metric):
        id = "divides"
        title = "divides"
        reference = "this test"

        def compute(self, outcome: Outcome) -> Any:
            raise ZeroDivisionError("by nothing")

    assert Divides.id in METRICS.names()
    assert run(suite_of(photo_folder, "identity"), tmp_path / STORE).failed == 0
    assert "r2" in set(scores(tmp_path / STORE).metric)
    [note] = [note for note in open_store(tmp_path / STORE).cells().notes[0] if "recovered is left out" not in note]
    assert "divides failed: ZeroDivisionError: by nothing" in note


def test_versions_of_a_method_are_never_averaged(photo_folder: Path, tmp_path: Path, registered: list[str]) -> None:
    variant("versioned", registered, decode=lambda self, codes: codes * 0.5)
    run(suite_of(photo_folder, "versioned"), tmp_path / STORE)
    methods.METHODS.entries.pop("versioned")
    spec = Identity.spec._replace(name="versioned", title="versioned", version=2)
    methods.register(type("versioned2", (Identity,), {"spec": spec}))
    run(suite_of(photo_folder, "versioned", seeds={"tokens": [1]}), tmp_path / STORE)
    [board] = leaderboard(open_store(tmp_path / STORE))
    assert sorted(row.n_finished for row in board.rows) == [1, 2]


PLUGIN = """
from methods import register
from methods.identity import Identity

@register
class Scaled(Identity):
    spec = Identity.spec._replace(name="scaled", title="scaled")

    def decode(self, codes):
        return codes * {factor}
"""


@pytest.mark.slow
def test_an_edited_plugin_is_run_again(photo_folder: Path, tmp_path: Path) -> None:
    """In processes of their own, as a person edits and runs."""
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(SUPPORT)!r})
        import tiny_backbones
        from pathlib import Path
        from small_runs import suite_of
        from harness.run import run
        from methods.plugin_files import load_plugin_file
        load_plugin_file("mine.py")
        summary = run(suite_of(Path({str(photo_folder)!r}), "scaled", seeds={{"tokens": [1]}}), "r.duckdb")
        print(summary.finished, summary.kept)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seen = []
    for factor in ("0.5", "0.5", "1.0"):
        (tmp_path / "mine.py").write_text(PLUGIN.format(factor=factor))
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        seen.append(done.stdout.split())
    assert seen == [["1", "0"], ["0", "1"], ["1", "0"]]


def test_two_plugins_of_one_file_name_do_not_replace_each_other(tmp_path: Path, registered: list[str]) -> None:
    registered.append("scaled")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(PLUGIN.format(factor=1))
    load_plugin_file(tmp_path / "a" / "mine.py")
    load_plugin_file(tmp_path / "a" / "mine.py")
    with pytest.raises(UserError, match="registered twice"):
        load_plugin_file(tmp_path / "b" / "mine.py")


def test_what_is_no_method_or_metric_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="no class derived from"):
        methods.METHODS.register("odd")(object)
    with pytest.raises(UserError, match="lacks the class attributes title, reference"):
        METRICS.register()(type("Bare", (Metric,), {"id": "bare", "compute": lambda self, outcome: []}))


def test_a_layer_that_computes_something_else_is_refused() -> None:
    class Halved(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv2d(x, self.weight / 2, self.bias)

    model = nn.Sequential(Halved(3, 4, 1))
    site = LinearLayerSite(model, "0")
    with pytest.raises(UserError, match="does not compute its weight times its input"):
        site.check(site.capture(model, torch.randn(2, 3, 5, 5)))


def test_methods_without_randomness_run_once_for_all_init_seeds(photo_folder: Path, tmp_path: Path) -> None:
    suite = suite_of(photo_folder, "identity", "random_split", seeds={"tokens": [1], "init": [1, 2, 3]})
    run(suite, tmp_path / STORE)
    assert open_store(tmp_path / STORE).cells().method.value_counts().to_dict() == {"random_split": 3, "identity": 1}


def test_another_label_moves_the_row_and_splits_nothing(photo_folder: Path, tmp_path: Path) -> None:
    def labelled(label: str, *seeds: int) -> Any:
        entries = [{"name": "identity", "label": label}]
        return suite_of(photo_folder, methods=entries, seeds={"tokens": list(seeds)})

    run(labelled("A", 1, 2), tmp_path / STORE)
    run(labelled("B", 1, 2, 3), tmp_path / STORE)
    [board] = leaderboard(open_store(tmp_path / STORE))
    assert [(row.label, row.n_finished) for row in board.rows] == [("B", 3)]


@pytest.mark.slow
def test_a_terminated_run_ends_as_interrupted(photo_folder: Path, tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(SUPPORT)!r})
        import tiny_backbones
        from pathlib import Path
        from small_runs import suite_of
        from harness.run import run
        suite = suite_of(Path({str(photo_folder)!r}), "identity", "elude", "topk_sae", seeds={{"tokens": [1, 2, 3, 4]}})
        run(suite, {str(tmp_path / STORE)!r})
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if (tmp_path / STORE).exists() and open_store(tmp_path / STORE).statuses():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
    assert open_store(tmp_path / STORE).runs().status.tolist() == ["interrupted"]


def test_two_makers_of_one_thing_do_not_hurt_each_other(tmp_path: Path) -> None:
    target = tmp_path / "things" / "one"
    first, second = create_partial(target, folder=True), create_partial(target, folder=True)
    (first / "data").write_text("same")
    (second / "data").write_text("same")
    replace_atomically(first, target)
    replace_atomically(second, target)
    assert (target / "data").read_text() == "same" and not first.exists() and not second.exists()
    assert oct((target / "data").stat().st_mode)[-3:] == "644" or os.umask(0o022) != 0o022


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = create_partial(tmp_path / "tokens" / "x", folder=True)
    theirs = mine.parent / mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    shutil.copytree(mine, theirs)
    remove_leftovers(tmp_path)
    assert mine.exists() and not theirs.exists()


def test_an_unusable_cache_is_found_before_anything_runs(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--cache"):
        run(suite_of(photo_folder, "identity"), tmp_path / STORE, cache=tmp_path / "file")
    assert not (tmp_path / STORE).exists()


def test_small_mistakes_are_named() -> None:
    values = {"name": "x", "targets": [{"backbone": "tiny_vit"}], "methods": [{"name": "identity"}]}
    with pytest.raises(UserError, match="contains an id twice"):
        parse_suite({**values, "evaluation": {"metrics": ["r2", "r2"]}})
    with pytest.raises(UserError, match=r"--evaluation 10\.7"):
        with_overrides(parse_suite(values), evaluation=10.7)
    for device in ("gpu", "mps", "cpu:7", "cuda:99"):
        with pytest.raises(UserError, match="Use --device cpu"):
            run(parse_suite(values), "never.duckdb", device=device)
