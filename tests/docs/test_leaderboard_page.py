"""docs/leaderboard.md, followed by a contributor and by a maintainer: its commands, and the steps of its workflows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import submission_store
import yaml
from documents import ROOT, blocks
from typer.testing import CliRunner

from harness.cli import app
from results.submissions import Wanted, submit

pytestmark = [
    pytest.mark.run,
    pytest.mark.skipif(shutil.which("git") is None or shutil.which("bash") is None, reason="needs git and bash"),
]

PAGE = ROOT / "docs" / "leaderboard.md"
WORKFLOWS = {
    workflow["name"]: workflow
    for workflow in (yaml.safe_load(block.text) for block in blocks(PAGE) if block.language == "yaml")
}


def steps_of(workflow: str) -> list[dict[str, Any]]:
    return [step for job in WORKFLOWS[workflow]["jobs"].values() for step in job["steps"]]


#: Who commits.
WRITER = {
    f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (("NAME", "A"), ("EMAIL", "a"))
}


def git(folder: Path, *words: str) -> None:
    arguments = ["git", "-c", "init.defaultBranch=main", *words]
    subprocess.run(arguments, cwd=folder, env={**os.environ, **WRITER}, capture_output=True, check=True)


def harness(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> str:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == code, f"{line}\n{done.output}\n{done.exception!r}"
    return str(done.output)


def commands_with(*verbs: str) -> list[str]:
    """Return the commands of the page that start with these words."""
    lines = [line for block in blocks(PAGE) if block.language in ("", "sh") for line in block.text.splitlines()]
    return [line for line in lines if line.startswith(verbs)]


# The repository


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a contributor's folder after the page was followed: a store, a results repository, a pushed branch."""
    reader = tmp_path_factory.mktemp("reader")
    store = submission_store.make_store(reader / "outputs" / "results.duckdb")
    first = reader / "first"
    submit(store.path, first, Wanted(methods=["random_dictionary", "random_split"]))
    (first / ".gitattributes").write_text("results/** -text\n", encoding="utf-8")
    git(first, "init", "-q")
    git(first, "add", ".")
    git(first, "commit", "-qm", "Start")
    git(reader, "clone", "-q", "--bare", "first", "origin.git")
    git(reader, "clone", "-q", "origin.git", "community-results")

    (submission,) = [line for line in commands_with("harness submit") if "--note" in line]
    with pytest.MonkeyPatch.context() as patch:
        said = harness(submission, reader, patch)
    assert "6 results written, 5 results unchanged in community-results/results" in said
    in_git = [shlex.split(line)[1:] for line in commands_with("git -C community-results")]
    assert [words[2] for words in in_git] == ["switch", "add", "commit", "push"]
    for words in in_git:
        git(reader, *words)
    return reader


@pytest.fixture
def contributed(prepared: Path, tmp_path: Path) -> Path:
    """Return a copy of the contributor's folder."""
    reader = Path(shutil.copytree(prepared, tmp_path / "reader"))
    git(reader / "community-results", "remote", "set-url", "origin", str(reader / "origin.git"))
    return reader


def merged(reader: Path, name: str) -> Path:
    """Return what CI checks out: the pull request merged into main, with the branches of the origin."""
    folder = reader / name
    git(reader, "clone", "-q", "origin.git", name)
    git(folder, "checkout", "-q", "--detach", "origin/main")
    git(folder, "merge", "-q", "--no-ff", "-m", "Merge", "origin/vit-b-three-seeds")
    return folder


def only_new_results(folder: Path) -> subprocess.CompletedProcess[str]:
    (step,) = [step for step in steps_of("results") if step.get("name") == "Only new results"]
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "GITHUB_BASE_REF": "main", "HOME": str(folder)}
    # As GitHub runs a step.
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_contribution_passes_and_is_published(contributed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = merged(contributed, "checkout")
    done = only_new_results(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for workflow in ("results", "publish"):
        lines = [step["run"] for step in steps_of(workflow) if step.get("run", "").startswith("harness ")]
        assert lines[0] == "harness verify --strict results/"
        for line in lines:
            harness(line, folder, monkeypatch)
    (artifact,) = [step for step in steps_of("publish") if "upload-pages-artifact" in step.get("uses", "")]
    assert "ELUDe" in (folder / artifact["with"]["path"] / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("change", ["edit", "delete", "move", "workflow"])
def test_what_is_no_new_result_is_refused(contributed: Path, change: str) -> None:
    clone = contributed / "community-results"
    accepted = next(path for path in sorted(clone.rglob("*.json")) if "random_split" in path.parts)
    if change == "edit":
        accepted.write_text(accepted.read_text(encoding="utf-8").replace("0.75", "0.76"), encoding="utf-8")
    elif change == "delete":
        accepted.unlink()
    elif change == "move":
        accepted.rename(clone / "results" / "other.json")
    else:
        (clone / ".github" / "workflows").mkdir(parents=True)
        (clone / ".github" / "workflows" / "results.yml").write_text("on: pull_request", encoding="utf-8")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "Change")
    git(clone, "push", "-q")
    done = only_new_results(merged(contributed, "checkout"))
    assert done.returncode == 1
    assert (".github/workflows/results.yml" if change == "workflow" else accepted.name) in done.stdout


# The workflows


def test_a_pull_request_gets_no_rights() -> None:
    workflow = WORKFLOWS["results"]
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True] == "pull_request" and workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())
    (checkout,) = [step for step in steps_of("results") if "checkout" in step.get("uses", "")]
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}


def test_only_the_job_that_runs_nothing_may_publish() -> None:
    jobs = WORKFLOWS["publish"]["jobs"]
    assert WORKFLOWS["publish"]["permissions"] == {"contents": "read"} and "permissions" not in jobs["build"]
    assert jobs["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert jobs["deploy"]["needs"] == "build" and not [step for step in jobs["deploy"]["steps"] if "run" in step]


@pytest.mark.parametrize("name", ["results", "publish"])
def test_workflows_have_the_form_that_github_reads(name: str) -> None:
    keys = {"name", True, "permissions", "concurrency", "jobs"}
    job_keys = {"needs", "runs-on", "timeout-minutes", "permissions", "environment", "steps"}
    assert set(WORKFLOWS[name]) <= keys
    for job in WORKFLOWS[name]["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest" and set(job) <= job_keys
        for step in job["steps"]:
            assert len({"uses", "run"} & set(step)) == 1 and set(step) <= {"id", "name", "uses", "run", "with"}
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/x@v1"))
            # What others write never becomes a part of a program.
            assert "${{" not in step.get("run", "") and "secrets" not in str(step)
