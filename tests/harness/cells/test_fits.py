"""Fits: what identifies them, and that they are made once and found again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import suite_of

import methods
from harness.cells.plan import cells_of, prepare
from harness.cells.run_cell import CellContext, Failure, failed
from harness.run import run
from harness.suites import MethodEntry, Suite, parse_suite
from methods.base import Device, LinearSite, Progress, Tokens, no_progress
from methods.random_split import RandomSplit
from results import open_store

pytestmark = pytest.mark.run

FITS: list[int] = []


class Counting(RandomSplit):
    """A random split that counts how often it is fitted."""

    spec = RandomSplit.spec._replace(name="counting", title="counting")

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Counting:
        FITS.append(seed)
        assert len(tokens.label) == tokens.n
        super().fit(tokens, site, seed=seed, device=device, progress=progress)
        self.notes = ["split at random"]
        return self


@pytest.fixture(autouse=True)
def counting() -> Iterator[None]:
    methods.METHODS.entries.pop("counting", None)
    methods.register(Counting)
    FITS.clear()
    yield
    methods.METHODS.entries.pop("counting")


def small(folder: Path, **changes: Any) -> Suite:
    evaluation = {"top_images": 6, "batch_size": 5, "metrics": ["r2"], **changes.pop("evaluation", {})}
    return suite_of(folder, "counting", seeds={"tokens": [1]}, evaluation=evaluation, **changes)


def cell_of(store: Path, number: int = -1) -> dict[str, Any]:
    return open_store(store).cells().to_dict("records")[number]


def test_another_metric_is_measured_on_the_same_fit(photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    run(small(photo_folder), store)
    second = run(small(photo_folder, evaluation={"metrics": ["r2", "l0"]}), store)
    assert (second.finished, second.kept) == (1, 0)
    assert FITS == [42]
    first, last = cell_of(store, 0), cell_of(store, 1)
    assert first["cell_id"] != last["cell_id"]
    assert first["fit_id"] == last["fit_id"]
    assert first["artifact"] == last["artifact"] == f"artifacts/{first['fit_id']}.safetensors"
    assert first["fit_seconds"] == last["fit_seconds"]
    assert first["notes"] == ["split at random"]
    assert last["notes"][0] == "split at random" and first["cell_id"] in last["notes"][1]
    scores = open_store(store).scores()
    evidence = scores[scores["metric"].str.startswith("evidence_") & ~scores["metric"].isin(["evidence_logits_gap"])]
    assert evidence.groupby("cell_id")["metric"].nunique().nunique() == 1, "what was seen of the fit comes with it"
    assert scores[scores["metric"] == "r2"]["value"].nunique() == 1


def test_rerun_fits_anew(photo_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    run(small(photo_folder), store)
    run(small(photo_folder), store, rerun=True)
    assert FITS == [42, 42]


@pytest.mark.parametrize("damage", ["cut", "garbage", "missing", "another method", "other settings"])
def test_a_damaged_artifact_is_fitted_again(photo_folder: Path, tmp_path: Path, damage: str) -> None:
    store = tmp_path / "r.duckdb"
    run(small(photo_folder), store)
    artifact = tmp_path / cell_of(store)["artifact"]
    whole = artifact.read_bytes()
    if damage == "cut":
        artifact.write_bytes(whole[: len(whole) // 2])
    elif damage == "garbage":
        artifact.write_bytes(b"\xff" * 64)
    elif damage == "missing":
        artifact.unlink()
    elif damage == "another method":
        artifact.write_bytes(whole.replace(b'\\"counting\\"', b'\\"thinning\\"'))
        assert artifact.read_bytes() != whole
    else:
        artifact.write_bytes(whole.replace(b'\\"parts\\": 4', b'\\"parts\\": 5'))
        assert artifact.read_bytes() != whole
    summary = run(small(photo_folder, evaluation={"metrics": ["l0"]}), store)
    assert (summary.finished, summary.failed) == (1, 0)
    assert FITS == [42, 42]
    assert artifact.read_bytes() == whole, "the same fit is written again"


def test_an_artifact_named_by_its_cell_keeps_working(photo_folder: Path, tmp_path: Path) -> None:
    """cells.artifact says where a fit lies, whatever its name."""
    store = tmp_path / "r.duckdb"
    run(small(photo_folder), store)
    cell = cell_of(store)
    old = tmp_path / "artifacts" / f"{cell['cell_id']}.safetensors"
    (tmp_path / cell["artifact"]).rename(old)
    with open_store(store, read_only=False).writing() as opened:
        opened.execute("UPDATE cells SET artifact = ?", [f"artifacts/{old.name}"])
    run(small(photo_folder, evaluation={"metrics": ["l0"]}), store)
    assert FITS == [42] and cell_of(store)["artifact"] == f"artifacts/{old.name}"


def test_a_fit_without_all_its_images_is_nobody_elses(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.cells import fit as fitting

    earlier = fitting.fit_cell

    def with_skipped(cell: Any, tokens: Any, *args: Any, **kwargs: Any) -> Any:
        tokens.meta["skipped"] = {"one.png": "cannot be read"}
        return earlier(cell, tokens, *args, **kwargs)

    monkeypatch.setattr("harness.cells.run_cell.fit_cell", with_skipped)
    store = tmp_path / "r.duckdb"
    run(small(photo_folder), store)
    cell = cell_of(store)
    assert cell["fit_id"] is None and cell["artifact"] == f"artifacts/{cell['cell_id']}.safetensors"
    monkeypatch.setattr("harness.cells.run_cell.fit_cell", earlier)
    run(small(photo_folder, evaluation={"metrics": ["l0"]}), store)
    assert FITS == [42, 42]


def test_what_changes_a_fit_changes_its_id_and_evaluation_does_not() -> None:
    base: dict[str, Any] = {
        "name": "x",
        "data": {"dataset": "photos", "evaluation": 100},
        "targets": [{"backbone": "tiny_vit"}],
        "methods": [{"name": "random_split", "config": {"parts": 2}}],
    }

    def ids(change: dict[str, Any]) -> tuple[str, str]:
        suite = parse_suite({**base, **change})
        [cell] = cells_of(suite, prepare(suite, device="cpu"))
        return cell.fit_id, cell.cell_id

    fit, cell = ids({})
    for same in (
        {"evaluation": {"top_images": 10}},
        {"evaluation": {"metrics": ["r2"]}},
        {"targets": [{"backbone": "tiny_vit", "head": "probe"}], "evaluation": {"metrics": ["l0"]}},
        {"name": "y"},
    ):
        assert ids(same)[0] == fit
    assert ids({"evaluation": {"metrics": ["r2"]}})[1] != cell
    others = [
        {"seeds": {"tokens": [1]}},
        {"seeds": {"init": [1]}},
        {"probing": {"crops": 1}},
        {"probing": {"dtype": "float16"}},
        {"probing": {"tokens_per_image": "all"}},
        {"data": {"dataset": "photos", "evaluation": 50}},
        {"targets": [{"backbone": "tiny_vit", "site": "blocks.2.mlp.fc2"}]},
        {"targets": [{"backbone": "tiny_cnn"}]},
        {"methods": [{"name": "random_split", "config": {"parts": 3}}]},
    ]
    found = [ids(other)[0] for other in others]
    assert len({fit, *found}) == len(others) + 1


def test_the_identity_of_this_fit_must_not_change() -> None:
    """Fits on other people's disks are found by it. A change needs a new version, not a new expectation here."""
    suite = parse_suite(
        {
            "name": "golden",
            "data": {"dataset": "photos", "evaluation": 100},
            "probing": {"crops": 1, "tokens_per_image": 8},
            "targets": [{"backbone": "efficientnet_lite0", "site": "conv_head"}],
            "methods": [{"name": "random_split", "config": {"parts": 3}}],
        }
    )
    [cell] = cells_of(suite, prepare(suite, device="cpu"))
    assert cell.fit_id == "1005fe0a94ff4826"


def test_repeated_runs_are_planned_for_every_method(photo_folder: Path) -> None:
    suite = suite_of(
        photo_folder, "identity", "random_split", seeds={"tokens": [1, 2], "init": [42]}, stability={"init": [42, 7]}
    )
    cells = cells_of(suite, prepare(suite, device="cpu"))
    seeds = {
        name: sorted((cell.plan.seed, cell.init_seed) for cell in cells if cell.method.spec.name == name)
        for name in ("identity", "random_split")
    }
    assert seeds["identity"] == seeds["random_split"] == [(1, 7), (1, 42), (2, 42)]
    plain = suite_of(photo_folder, "identity", "random_split", seeds={"tokens": [1], "init": [42, 7]})
    counts = [cell.method.spec.name for cell in cells_of(plain, prepare(plain, device="cpu"))]
    assert counts.count("identity") == 1 and counts.count("random_split") == 2


@pytest.fixture
def control_of_counting(photo_folder: Path) -> Suite:
    """The random split with the counts of `counting`, which is listed before it."""
    counts_of = {"counts_of": {"entry": "counting"}}
    entries = [{"name": "counting", "config": {"parts": 3}}, {"name": "random_split", "config": counts_of}]
    return small(photo_folder).model_copy(update={"methods": tuple(map(MethodEntry.model_validate, entries))})


def test_the_fit_that_another_fit_needs_is_that_of_the_sibling_cell(control_of_counting: Suite, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    assert run(control_of_counting, store).finished == 2
    assert FITS == [42], "fitted once, for both"
    counted, control = open_store(store).cells().to_dict("records")
    assert counted["n_units"] == control["n_units"] == 3 * 24
    assert control["label"] == "random split (counting's counts)"
    assert f"The fit of counting is that of the cell {counted['cell_id']}" in " ".join(control["notes"])
    assert control["fit_seconds"] > counted["fit_seconds"], "with what it would take alone"
    # In a store without the sibling it is fitted again, with the same result.
    alone = control_of_counting.model_copy(
        update={"methods": control_of_counting.methods_of(control_of_counting.targets[0])[1:]}
    )
    assert run(alone, tmp_path / "alone.duckdb").finished == 1
    assert FITS == [42, 42]
    again = cell_of(tmp_path / "alone.duckdb")
    assert again["cell_id"] == control["cell_id"] and again["n_units"] == control["n_units"]
    scores = [open_store(path).scores(cell_id=control["cell_id"]) for path in (store, tmp_path / "alone.duckdb")]
    for metric in ("r2", "evidence_gradients", "evidence_labels"):
        first, second = (frame[frame["metric"] == metric]["value"].item() for frame in scores)
        assert first == second == {"r2": first, "evidence_gradients": 0, "evidence_labels": 1}[metric]


def test_a_damaged_sibling_is_fitted_again(control_of_counting: Suite, tmp_path: Path) -> None:
    store = tmp_path / "r.duckdb"
    first = control_of_counting.model_copy(update={"methods": control_of_counting.methods[:1]})
    run(first, store)
    (tmp_path / cell_of(store)["artifact"]).write_bytes(b"\xff" * 64)
    assert run(control_of_counting, store).finished == 1
    assert FITS == [42, 42]


def test_a_method_without_a_seed_serves_every_init_seed(photo_folder: Path, tmp_path: Path) -> None:
    """ELUDe is run with the first init seed only; its counts are those of all repetitions of the control."""
    suite = suite_of(
        photo_folder, "identity", "random_split", seeds={"tokens": [1], "init": [42, 7]}, evaluation={"metrics": ["r2"]}
    )
    counts_of = {"counts_of": {"entry": "identity"}}
    control = suite.methods[1].model_copy(update={"config": counts_of})
    store = tmp_path / "r.duckdb"
    run(suite.model_copy(update={"methods": (suite.methods[0], control)}), store)
    cells = open_store(store).cells()
    notes = cells[cells["method"] == "random_split"]["notes"].tolist()
    assert len(notes) == 2 and all("The fit of identity is that of the cell" in " ".join(each) for each in notes)


def test_a_new_version_of_the_counted_method_is_a_new_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    counts_of = {"counts_of": {"name": "counting", "config": {"parts": 2}}}
    suite = parse_suite(
        {"name": "x", "targets": [{"backbone": "tiny_vit"}], "methods": [{"name": "random_split", "config": counts_of}]}
    )

    [cell] = cells_of(suite, prepare(suite, device="cpu"))
    assert cell.method_identity["prerequisite"] == cell.prerequisite().method_identity  # type: ignore[union-attr]
    before = (cell.cell_id, cell.config_id, cell.fit_id)
    monkeypatch.setattr(Counting, "spec", Counting.spec._replace(version=2))
    cell = dataclasses.replace(cell)  # as the next run plans it: a cell keeps the identity that it was planned with
    assert not {cell.cell_id, cell.config_id, cell.fit_id} & {*before}


def test_families_and_controls_are_claims_and_no_part_of_the_identity(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = small(photo_folder)
    [cell] = cells_of(suite, prepare(suite, device="cpu"))
    failure = Failure("Error", "no result", "")
    claims = failed(cell, CellContext("r", "s", "cpu", tmp_path), failure).record.claims
    assert (claims["family"], claims["control_for"]) == ("control", ("split", "virtual split"))
    before = (cell.cell_id, cell.config_id, cell.fit_id)
    monkeypatch.setattr(Counting, "spec", Counting.spec._replace(family="other", control_for=()))
    assert (cell.cell_id, cell.config_id, cell.fit_id) == before
