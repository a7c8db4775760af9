"""Plugins as their authors use them: from a starting point to rows of a store, as a file and as a package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT
from plugins import clean_registries, loaded
from typer.testing import CliRunner

from harness.cli import app
from harness.listing import listing
from harness.metrics.base import METRICS
from harness.plugins import KINDS, load_plugin, registry_of
from harness.run import run
from harness.scaffold import kinds, next_steps, scaffold
from harness.suites import parse_suite
from methods import METHODS, UserError
from methods.plugin_files import load_plugin_file, plugin_source
from methods.registry import Registry
from results import open_store
from results.store import judgments

pytestmark = pytest.mark.run

EXAMPLES = ROOT / "examples"

SUITE = """
name = "small"
[data]
dataset = "my_dataset:60"
evaluation = 24
[probing]
tokens_per_image = 8
[evaluation]
top_images = 10
[judging]
panel = "my_judge"
pairs = 4
controls = 2
[[targets]]
backbone = "my_backbone"
[[methods]]
name = "identity"
[[methods]]
name = "random_split"
config = { parts = 2 }
"""


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with clean_registries():
        yield


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line in an empty folder; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        if isinstance(done.exception, UserError) and code == 2:
            return str(done.exception)
        assert done.exit_code == code, f"{arguments}: {done.exception!r}\n{done.output}"
        return done.output

    return call


def test_a_starting_point_of_each_kind_is_checked_and_used(harness: Any, tmp_path: Path) -> None:
    assert set(kinds()) == set(KINDS)
    plugins: list[str] = []
    for kind in KINDS:
        file = f"my_{kind}.py"
        assert f"harness check {file}" in harness("new", kind, file)
        text = harness("check", file)
        assert f"{kind} my_{kind}, plugin {file}" in text and "FAIL" not in text
        # What is said about how to use it is a command of this program.
        assert f"harness run --suite demo --plugin {file}" in text
        plugins += ["--plugin", file]
    (tmp_path / "small.toml").write_text(SUITE)
    text = harness("run", "--suite", "small.toml", *plugins, "--store", "r.duckdb")
    assert "3 cells finished" in text and "MyMethod" in text and "Not judged" not in text
    store = open_store(tmp_path / "r.duckdb")
    cells, scores = store.cells(), store.scores()
    assert set(cells["method"]) == {"identity", "random_split", "my_method"}
    assert set(cells["backbone"]) == {"my_backbone"} and set(cells["dataset"]) == {"my_dataset:60"}
    own = scores[scores["metric"] == "my_metric"]
    assert len(own) == 3 and own["value"].between(0, 1).all()
    (panel,) = judgments.tournaments(store)["panel"]
    assert panel == "my_judge:colours_1x1+colours_2x2+colours_4x4" and len(judgments.win_rates(store)) == 3
    board = json.loads(harness("leaderboard", "--store", "r.duckdb", "--sort", "my_metric", "--json"))
    assert {row["label"] for row in board[0]["rows"]} >= {"MyMethod"}
    # The same command again finds everything done.
    assert "3 kept from earlier runs" in harness("run", "--suite", "small.toml", *plugins, "--store", "r.duckdb")


def test_every_kind_is_listed_with_its_origin(harness: Any) -> None:
    for kind in KINDS:
        what = "panels" if kind == "judge" else f"{kind}s"
        file = f"my_{kind}.py"
        harness("new", kind, file)
        assert f"my_{kind}" in harness("list", what, "--plugin", file)
    row = next(row for row in listing("methods") if row["name"] == "my_method")
    assert row["source"] == "plugin my_method.py"
    assert next(row for row in listing("methods") if row["name"] == "elude")["source"] == "methods.elude.method"


def test_scaffold_refuses_in_a_sentence(tmp_path: Path) -> None:
    scaffold("metric", tmp_path / "mine.py")
    with pytest.raises(UserError, match="exists"):
        scaffold("metric", tmp_path / "mine.py")
    with pytest.raises(UserError, match="Did you mean method"):
        scaffold("metod", tmp_path / "other.py")
    with pytest.raises(UserError, match=r"such as my_judge\.py"):
        scaffold("judge", tmp_path / "My Judge.py")
    assert "--set judging.panel=mine" in next_steps("judge", "mine", "mine.py")[0]


def test_an_edit_after_loading_changes_no_identity(tmp_path: Path) -> None:
    """The code that runs is the loaded one: its cells must not be kept for the edited one."""
    file = scaffold("method", tmp_path / "edited.py")
    load_plugin(file)
    cls = METHODS.get("edited")
    before = plugin_source(cls)
    assert before is not None
    file.write_text(file.read_text().replace("0.5", "0.6") + "\n# another\n")
    assert plugin_source(cls) == before
    file.unlink()
    assert plugin_source(cls) == before
    del METHODS.entries["edited"]


def test_what_runs_is_what_was_hashed_and_no_bytecode_of_a_moment_ago(tmp_path: Path) -> None:
    file = tmp_path / "quick.py"
    seen = []
    for value in (1, 2):
        # Of the same size, and in the same second: Python would take its cached bytecode for the second file too.
        file.write_text(f"VALUE = {value}\n")
        os.utime(file, (1e9, 1e9))
        module = load_plugin_file(file)
        seen.append(sys.modules.pop(module).VALUE)
    assert seen == [1, 2]


def test_a_plugin_that_does_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(UserError, match="registers nothing: decorate"):
        load_plugin(tmp_path / "empty.py")


def test_a_plugin_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    file = scaffold("method", tmp_path / "half.py")
    file.write_text(file.read_text() + "\n1 / 0\n")
    with pytest.raises(UserError, match=r"at line 55: ZeroDivisionError"):
        load_plugin(file)
    assert "half" not in METHODS.names()
    file.write_text(file.read_text().replace("1 / 0", ""))
    assert loaded(file, "method") == ["half"]


def test_a_plugin_of_several_files_is_sent_to_the_packages(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("x = 1\n")
    (tmp_path / "mine.py").write_text("from beside import x\n")
    with pytest.raises(UserError, match=r"A plugin is one file.*docs/plugins\.md"):
        load_plugin(tmp_path / "mine.py")


def test_a_name_that_is_taken_names_both(tmp_path: Path) -> None:
    file = scaffold("method", tmp_path / "identity.py")
    with pytest.raises(UserError, match=r"registered twice: methods\.identity and plugin .*identity\.py"):
        load_plugin(file)


# ---- packages


def install(site: Path, *projects: Path) -> None:
    """Install a project of single modules as pip does: the modules, and metadata with the entry points."""
    for project in projects:
        described = tomllib.loads((project / "pyproject.toml").read_text())
        name, version = described["project"]["name"], described["project"]["version"]
        for module in described["tool"]["setuptools"]["py-modules"]:
            shutil.copy(project / f"{module}.py", site)
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for group, points in described["project"]["entry-points"].items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, looked through for entry points at the next question."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    for kind in KINDS:
        monkeypatch.setattr(registry_of(kind), "_discovered", False)
    yield folder
    for file in folder.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_an_installed_method_is_found_and_runs_and_a_broken_one_harms_nothing(
    site: Path, harness: Any, photo_folder: Path, tmp_path: Path
) -> None:
    install(site, EXAMPLES / "plugin", EXAMPLES / "broken_plugin")
    rows = {row["name"]: row for row in json.loads(harness("list", "methods", "--json"))}
    assert rows["coactive_split"]["source"] == "package harness-coactive-split"
    assert rows["broken_split"]["source"] == "package harness-broken-split"
    assert rows["broken_split"]["title"].startswith("BROKEN: ModuleNotFoundError") and "elude" in rows
    assert "FAIL" not in harness("check", "coactive_split")
    why = harness("check", "broken_split", code=2)
    assert "'broken_split' of package harness-broken-split could not be loaded: ModuleNotFoundError" in why
    assert "a_package_that_nobody_has" in why and "\n" not in why
    assert "broken_metric" in harness("list", "metrics")
    values: dict[str, Any] = {
        "name": "small",
        "data": {"dataset": f"folder:{photo_folder}", "evaluation": 12},
        "probing": {"tokens_per_image": 4},
        "evaluation": {"top_images": 4},
        "targets": [{"backbone": "tiny_vit"}],
        "methods": [{"name": "coactive_split", "config": {"parts": 3}}, {"name": "identity"}],
    }
    summary = run(parse_suite(values), tmp_path / "r.duckdb")
    assert (summary.finished, summary.failed) == (2, 0)
    scores = open_store(tmp_path / "r.duckdb").scores()
    r2 = scores[scores["metric"] == "r2"]["value"]
    assert len(r2) == 2 and (r2 > 0.999).all()


def test_a_package_that_takes_a_name_or_misnames_is_told(site: Path) -> None:
    taken = site.parent / "taken"
    taken.mkdir()
    (taken / "taken.py").write_text((EXAMPLES / "plugin" / "coactive_split.py").read_text().replace("@register\n", ""))
    (taken / "pyproject.toml").write_text(
        """
        [project]
        name = "acme"
        version = "1"
        [project.entry-points."harness.methods"]
        elude = "taken:CoactiveSplit"
        coactive = "taken:CoactiveSplit"
        absent = "taken:NoSuchClass"
        quiet = "taken"
        [tool.setuptools]
        py-modules = ["taken"]
        """
    )
    install(site, taken)
    METHODS.discover()
    reasons = {plugin.name: plugin.reason for plugin in METHODS.broken.values()}
    assert "called 'coactive' and the method it loads 'coactive_split'" in reasons["coactive"]
    assert "called 'elude' and the method it loads" in reasons["elude"]
    assert "NoSuchClass" in reasons["absent"] and "registers no method called 'quiet'" in reasons["quiet"]
    assert METHODS.get("elude").__module__ == "methods.elude.method"
    with pytest.raises(UserError, match="'absent' of package acme could not be loaded"):
        METHODS.get("absent")


def test_modules_may_register_several_kinds_from_a_package(site: Path) -> None:
    """The very files that `harness new` writes, as modules of a package."""
    project = site.parent / "project"
    project.mkdir()
    groups = {"judge": "judges", "dataset": "datasets", "backbone": "backbones", "metric": "metrics"}
    points = []
    for kind, group in groups.items():
        scaffold(kind, project / f"my_{kind}.py")
        points.append(f'[project.entry-points."harness.{group}"]\nmy_{kind} = "my_{kind}"')
    (project / "pyproject.toml").write_text(
        '[project]\nname = "several"\nversion = "1"\n'
        + "\n".join(points)
        + f"\n[tool.setuptools]\npy-modules = {[f'my_{kind}' for kind in groups]}\n"
    )
    install(site, project)
    for kind in groups:
        registry_of(kind).discover()
        assert not registry_of(kind).broken
        assert registry_of(kind).entries[f"my_{kind}"].source == "package several"


def test_what_a_plugin_imports_of_ours_stays_ours(tmp_path: Path) -> None:
    file = tmp_path / "first.py"
    file.write_text("from harness.metrics.l0 import L0\n")
    registry: Registry[type] = Registry("metric", "harness.none")
    with pytest.raises(UserError, match="registers nothing"):
        load_plugin(file)
    assert load_plugin_file(file) and METRICS.entries["l0"].source == "harness.metrics.l0" and not registry.entries


@pytest.mark.slow
def test_pip_installs_the_examples(tmp_path: Path) -> None:
    """The real thing: pip without a network, and the program in a process of its own."""
    for name in ("plugin", "broken_plugin"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    target = tmp_path / "site"
    projects = [str(tmp_path / "plugin"), str(tmp_path / "broken_plugin")]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), *projects], check=True, capture_output=True)
    path = os.pathsep.join([str(ROOT), str(target)])
    done = subprocess.run(
        [sys.executable, "-m", "harness", "list", "methods", "--json"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    sources = {row["name"]: row["source"] for row in json.loads(done.stdout)}
    assert sources["coactive_split"] == "package harness-coactive-split"
    assert sources["broken_split"] == "package harness-broken-split"
