"""Stores of somebody else, opened with every verb that reads and every page of the app: sentences, no tracebacks."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest
from app_pages import PAGES, opened, show
from app_store import make_store
from command_line import harness
from hostile_stores import SECRET, Mutation, combined, hostile_store, mutations

from results import open_store

VERBS = (
    ("leaderboard",),
    ("leaderboard", "--all", "--json"),
    ("leaderboard", "--by", "method"),
    ("leaderboard", "--weights", "ms_score=2,r2=1,accuracy=1"),
    ("frontier", "--x", "expansion_factor"),
    ("frontier", "--x", "expansion_factor", "--limits", "1:8", "--json"),
    ("compare", "ELUDe", "TopK SAE"),
    ("compare", "--against", "published"),
    ("export", "out.csv"),
    ("export", "out.md"),
    ("export", "out.html"),
    ("export", "out.parquet"),
    ("export", "scores.json", "--weights", "ms_score=1,r2=1"),
    ("export", "scores.html", "--weights", "ms_score=1,r2=1"),
    ("verify",),
    ("verify", "--json"),
    ("properties",),
    ("efficiency",),
    ("robustness",),
    ("stability",),
    ("validity",),
    ("site", "public", "--force"),
)
#: No verb may take longer on a store of a few rows, whatever the values are; on a busy machine.
LIMIT_S = 60
ALL = [*mutations(), *combined()]
#: One mutation for each kind of harm; the slow tests take many more.
_SAMPLE_NAMES = (
    "view of file in place of cells",
    "every column of type JSON: a list of objects",
)
SAMPLE = [mutation for mutation in ALL if mutation.name in _SAMPLE_NAMES]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("hostile") / "results.duckdb").path


def check_verbs(source: Path, folder: Path, mutation: Mutation, verbs: tuple[tuple[str, ...], ...] = VERBS) -> None:
    path = hostile_store(source, folder / "hostile.duckdb", mutation)
    shutil.copyfile(source, folder / "other.duckdb")
    merged = ("merge", "merged.duckdb", path.name, "other.duckdb", "--prefer", "first", "--overwrite")
    submitted = ("submit", path.name, "--to", "submitted", "--replace")
    for verb in (*((*verb, "--store", path.name) for verb in verbs), merged, submitted):
        start = time.monotonic()
        done = harness(*verb, cwd=folder, code=None)
        assert time.monotonic() - start < LIMIT_S, verb
        assert SECRET not in done.stdout + done.stderr, verb
        if mutation.refused:
            assert done.returncode in (1, 2) and len(done.stderr.strip().splitlines()) <= 2, (verb, done.stderr)
    for file in folder.glob("out.*"):
        assert SECRET.encode() not in file.read_bytes()


def check_pages(source: Path, folder: Path, mutation: Mutation, patch: pytest.MonkeyPatch) -> None:
    path = hostile_store(source, folder / "hostile.duckdb", mutation)
    show(open_store(path), patch)
    for page in PAGES:
        test = opened(page)
        assert [element.message for element in test.exception] == [], page


@pytest.mark.parametrize("mutation", SAMPLE, ids=lambda mutation: mutation.name)
def test_a_sample_with_some_verbs(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    check_verbs(source, tmp_path, mutation, (("leaderboard",), ("verify",)))


@pytest.mark.slow
@pytest.mark.parametrize("mutation", list(combined()), ids=lambda mutation: mutation.name)
def test_every_verb_on_every_value(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    check_verbs(source, tmp_path, mutation)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", random.Random(0).sample(ALL, 60), ids=lambda mutation: mutation.name)
def test_every_verb_on_a_sample(source: Path, tmp_path: Path, mutation: Mutation) -> None:
    check_verbs(source, tmp_path, mutation)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", random.Random(1).sample(list(combined()), 20), ids=lambda mutation: mutation.name)
def test_every_page(source: Path, tmp_path: Path, mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    check_pages(source, tmp_path, mutation, monkeypatch)
