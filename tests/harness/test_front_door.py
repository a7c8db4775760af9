"""Front door: what `import harness` gives, files that hide a package, and the import contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import harness_process as harness
from paths import ROOT

import harness as package
import results
from harness.run import RunSummary
from results import open_store

pytestmark = pytest.mark.run


def test_a_suite_is_loaded_and_run_from_a_notebook(tmp_path: Path, photo_folder: Path) -> None:
    suite = package.load_suite(
        "demo",
        backbone="tiny_vit",
        site="blocks.1.mlp.fc2",
        dataset=f"folder:{photo_folder}",
        evaluation=18,
        methods=("identity",),
        token_seeds=(1,),
    )
    summary = package.run_suite(suite, tmp_path / "r.duckdb")
    assert isinstance(summary, RunSummary) and (summary.finished, summary.failed) == (1, 0)
    assert [part.cell_ids for part in summary.parts] == [summary.cell_ids] and not summary.stopped
    assert open_store(tmp_path / "r.duckdb").finished(summary.cell_ids) == set(summary.cell_ids)


def test_names_are_listed_before_they_are_loaded() -> None:
    assert {"load_suite", "run_suite", "__version__"} <= set(dir(package)) & {*package.__all__}
    assert set(results.__all__) <= set(dir(results))
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018


def test_every_package_is_typed_and_says_what_is_public() -> None:
    for name in ("harness", "methods", "judges", "results"):
        assert (ROOT / name / "py.typed").is_file()
        for file in (ROOT / name).rglob("__init__.py"):
            text = file.read_text()
            assert "__all__" in text, file


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert harness("--version", cwd=tmp_path).stdout.split() == ["harness", package.__version__]


@pytest.mark.parametrize("name", ["methods", "judges", "results"])
def test_a_file_that_hides_a_package_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("x = 1\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in (["-m", "harness", "list", "metrics"], ["-c", "import harness"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        last = done.stderr.strip().splitlines()[-1]
        assert f"{name}.py hides the package {name!r} of disentanglement-harness: rename it" in last
        assert command[0] == "-c" or len(done.stderr.strip().splitlines()) == 1


def test_a_folder_of_results_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "old.csv").write_text("a,b\n")
    assert "ms_score" in harness("list", "metrics", cwd=tmp_path).stdout


def test_the_import_contract_holds_and_notices_a_cycle(tmp_path: Path) -> None:
    for name in ("harness", "methods", "judges", "results"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.jpg", "__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)

    def contract() -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    kept = contract()
    assert kept.returncode == 0, kept.stdout
    site = tmp_path / "harness" / "activations" / "site.py"
    site.write_text(site.read_text() + "\n\ndef late() -> None:\n    import harness.run.loop  # noqa: F401\n")
    broken = contract()
    assert broken.returncode == 1
    assert "harness.activations is not allowed to import harness.run" in broken.stdout
