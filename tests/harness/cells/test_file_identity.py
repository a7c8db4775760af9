"""Cells of methods that read files: their identity, fits and records follow the content of the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugins import clean_registries
from pydantic import FilePath
from small_runs import suite_of

import methods
from harness.cells.plan import Cell, cells_of, prepare
from harness.errors import UserError
from harness.run import run
from harness.suites import parse_suite
from methods.base import MethodConfig
from methods.file_settings import content_of
from methods.identity import Identity
from results import open_store

pytestmark = pytest.mark.run


class ScaledConfig(MethodConfig):
    factor: FilePath


class Scaled(Identity):
    """Identity whose reconstruction is scaled by the number in a file."""

    spec = Identity.spec._replace(name="scaled", title="scaled")
    Config = ScaledConfig
    fitted = (*Identity.fitted, "factor")

    def fit(self, tokens: Any, site: Any, **kwargs: Any) -> Scaled:
        super().fit(tokens, site, **kwargs)
        self.factor = site.bias.new_tensor(float(self.config.factor.read_text()))
        return self

    def decode(self, codes: Any) -> Any:
        return codes * self.factor


@pytest.fixture(autouse=True)
def scaled() -> Iterator[None]:
    with clean_registries():
        methods.register(Scaled)
        yield


def suite(folder: Path, file: str, **changes: Any) -> Any:
    entries = [{"name": "scaled", "config": {"factor": file}}]
    evaluation = {"top_images": 6, "batch_size": 9, "metrics": ["r2"]}
    return suite_of(folder, methods=entries, **{"seeds": {"tokens": [1]}, "evaluation": evaluation, **changes})


def test_another_content_is_another_cell_and_another_spelling_is_not(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, store = tmp_path / "factor.txt", tmp_path / "r.duckdb"
    file.write_text("1.0")
    (tmp_path / "link.txt").symlink_to(file)
    assert run(suite(photo_folder, "factor.txt"), store).finished == 1
    for spelling in (str(file), "./factor.txt", "link.txt"):
        summary = run(suite(photo_folder, spelling), store)
        assert (summary.finished, summary.kept) == (0, 1), spelling
    # Another evaluation of the same content loads the fit; one of another content does not.
    metrics = {"evaluation": {"top_images": 6, "batch_size": 5, "metrics": ["fvu"]}}
    run(suite(photo_folder, "link.txt", **metrics), store)
    assert open_store(store).cells()["fit_id"].nunique() == 1
    file.write_text("0.5")
    assert run(suite(photo_folder, "factor.txt"), store).finished == 1
    cells = open_store(store).cells()
    assert cells["fit_id"].nunique() == 2 and cells["config_id"].nunique() == 2
    new = cells.iloc[-1]
    assert new["config"] == {"factor": content_of(file)}
    assert any("'factor.txt'" in note for note in new["notes"])
    r2 = open_store(store).scores().query("metric == 'r2'").set_index("cell_id")["value"]
    assert r2[new["cell_id"]] < 1 == pytest.approx(r2[cells.iloc[0]["cell_id"]])
    # What a fit was saved with can be loaded when its file is gone.
    file.unlink()
    assert float(methods.load(tmp_path / new["artifact"]).factor) == 0.5


def test_a_missing_file_is_one_sentence_before_anything_runs(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scaled\.factor = .*does not point to a file"):
        run(suite(photo_folder, str(tmp_path / "none")), tmp_path / "r.duckdb")
    assert not (tmp_path / "r.duckdb").exists()


@pytest.mark.parametrize("when", ["before the fit", "during the fit"])
def test_a_file_that_changes_during_the_run_is_a_failed_cell(
    when: str, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, store = tmp_path / "factor", tmp_path / "r.duckdb"
    file.write_text("1.0")
    fit = Scaled.fit
    if when == "during the fit":

        def changing(self: Scaled, *args: Any, **kwargs: Any) -> Scaled:
            fit(self, *args, **kwargs)
            file.write_text("0.5")
            return self

        monkeypatch.setattr(Scaled, "fit", changing)
    else:
        inputs = Cell.require_same_files

        def before(self: Cell) -> None:
            file.write_text("0.5")
            inputs(self)

        monkeypatch.setattr(Cell, "require_same_files", before)
    assert run(suite(photo_folder, str(file)), store).failed == 1
    [message] = open_store(store).cells()["error_message"]
    assert "has changed since the run was planned" in message and str(file) in message
    monkeypatch.undo()
    assert run(suite(photo_folder, str(file)), store).finished == 1


def cell_of(folder: Path, **entry: Any) -> Cell:
    wanted = suite_of(folder, methods=[entry], seeds={"tokens": [1]})
    [cell] = cells_of(wanted, prepare(wanted, device="cpu"))
    return cell


def test_a_fingerprint_enters_the_identity(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cell_of(photo_folder, name="identity").cell_id
    ids = {plain}
    for value in ("one", "two"):
        monkeypatch.setattr(Identity, "fingerprint", lambda self, value=value: value)
        cell = cell_of(photo_folder, name="identity")
        assert cell.method_identity["fingerprint"] == value
        ids |= {cell.cell_id, cell.fit_id}
    assert len(ids) == 5
    monkeypatch.setattr(Identity, "fingerprint", lambda self: None)
    assert cell_of(photo_folder, name="identity").cell_id == plain
    monkeypatch.setattr(Identity, "fingerprint", lambda self: 3)
    with pytest.raises(UserError, match=r"fingerprint\(\) returns a int"):
        cell_of(photo_folder, name="identity")


def test_a_method_that_needs_the_fit_follows_its_files(photo_folder: Path, tmp_path: Path) -> None:
    @methods.register
    class Split(methods.METHODS.get("random_split")):  # type: ignore[misc]
        spec = methods.METHODS.get("random_split").spec._replace(name="split_by_file", family="split")

        class Config(methods.METHODS.get("random_split").Config):  # type: ignore[name-defined, misc]
            factor: FilePath

    for name in "ab":
        (tmp_path / name).write_text("1.0")

    def identity(name: str) -> Cell:
        counted = {"name": "split_by_file", "config": {"factor": str(tmp_path / name)}}
        return cell_of(photo_folder, name="random_split", config={"counts_of": counted})

    first = identity("a")
    assert str(tmp_path) not in str(first.identity) and identity("b").cell_id == first.cell_id
    (tmp_path / "b").write_text("2.0")
    assert identity("b").cell_id != first.cell_id
    assert dataclasses.replace(first).cell_id == first.cell_id


def test_a_suite_finds_its_cells_by_content(photo_folder: Path, tmp_path: Path) -> None:
    from harness import datasets
    from harness.judging.selection import cells_in_store

    for name in "ab":
        (tmp_path / name).write_text("1.0")
    store = tmp_path / "r.duckdb"
    run(suite(photo_folder, str(tmp_path / "a")), store)
    images = datasets.load(f"folder:{photo_folder}").split(evaluation=18).evaluation
    by_other_name = parse_suite(suite(photo_folder, str(tmp_path / "b")).model_dump(mode="json", exclude={"extra"}))
    assert len(cells_in_store(open_store(store), by_other_name, images)) == 1
