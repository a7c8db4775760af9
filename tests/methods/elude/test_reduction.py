"""ELUDe's ablation with UMAP: what is clustered, and that it no longer claims what holds without it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from in_memory import MemorySite, MemoryTokens, small_layer
from small_runs import suite_of

import methods
from harness.cells.plan import Cell, cells_of, prepare
from harness.cells.run_cell import CellContext, Failure, failed
from harness.check.methods import check_method
from harness.run import run
from harness.suites import load_suite
from methods.elude.method import ELUDe
from methods.errors import UserError
from results import open_store

SETTINGS = {"top_k": 120, "min_cluster_size": 15}


class FakeUMAP:
    """Stands in for umap-learn: columns that follow from the seed, and a record of how it was called."""

    calls: list[dict[str, object]] = []

    def __init__(self, **settings: object) -> None:
        self.settings = settings
        FakeUMAP.calls.append(settings)

    def fit_transform(self, x: np.ndarray) -> np.ndarray:
        assert (np.abs(x).sum(1) > 0).all(), "rows without a direction are kept from it"
        columns = np.random.default_rng(self.settings["random_state"]).permutation(x.shape[1])  # type: ignore[call-overload]
        return x[:, columns[: int(self.settings["n_components"])]]  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def layer() -> tuple[MemorySite, MemoryTokens]:
    return small_layer(d_out=12)


@pytest.fixture
def fake_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("umap")
    module.UMAP = FakeUMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    FakeUMAP.calls.clear()


def test_umap_is_asked_for_by_its_extra(
    layer: tuple[MemorySite, MemoryTokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"disentanglement-harness\[umap\]"):
        methods.create("elude", **SETTINGS, umap_dims=2).fit(layer[1], layer[0])


@pytest.mark.usefixtures("fake_umap")
def test_umap_reduces_what_is_clustered(layer: tuple[MemorySite, MemoryTokens]) -> None:
    site, tokens = layer
    q = tokens.fields["input"].clone()
    q[::40] = 0.0
    # Every token is an instance, so the six without a direction are among them.
    settings = {"top_k": 240, "min_cluster_size": 15, "umap_dims": 12}
    method = methods.create("elude", **settings).fit(MemoryTokens(q, tokens.fields["output"]), site, seed=5)
    assert FakeUMAP.calls[0]["random_state"] == 5 and FakeUMAP.calls[0]["n_components"] == 12
    assert (method.n_noise >= 6).all() and method.n_units > site.d_out


def test_what_it_says_of_itself_follows_from_the_settings() -> None:
    without, with_umap = ELUDe.spec_with(ELUDe.Config()), ELUDe.spec_with(ELUDe.Config(umap_dims=2))
    assert without == ELUDe.spec and without.stable and not without.uses_seed
    assert with_umap == ELUDe.spec._replace(stable=False, uses_seed=True)


def planned(folder: Path, config: dict[str, object]) -> list[Cell]:
    methods_of = [{"name": "elude", "config": {**SETTINGS, **config}}]
    suite = suite_of(folder, seeds={"tokens": [1, 2], "init": [42, 7]}, methods=methods_of)
    return cells_of(suite, prepare(suite, device="cpu"))


def test_every_seed_is_a_cell_with_umap_only(photo_folder: Path) -> None:
    plain, with_umap = planned(photo_folder, {}), planned(photo_folder, {"umap_dims": 2})
    assert [(cell.plan.seed, cell.init_seed) for cell in plain] == [(1, 42), (2, 42)]
    assert [(cell.plan.seed, cell.init_seed) for cell in with_umap] == [(1, 42), (1, 7), (2, 42), (2, 7)]
    for cells, stable in ((plain, True), (with_umap, False)):
        claims = failed(
            cells[0], CellContext("run", "suite", "cpu", photo_folder), Failure("E", "e", "t")
        ).record.claims
        assert claims["stable"] is stable and claims["lossless"] is True


def test_the_papers_table_runs_it_once_a_token_seed() -> None:
    suite = load_suite("table7")
    (target,) = suite.targets
    assert [entry.label for entry in suite.methods_of(target) if entry.config.get("umap_dims")] == ["ELUDe, UMAP"]
    assert [suite.init_seeds_of(target, seed) for seed in suite.token_seeds_of(target)] == [(42,)] * 3


@pytest.mark.usefixtures("fake_umap")
def test_the_contract_holds_with_umap() -> None:
    found = {one.check: one for one in check_method(ELUDe, {**SETTINGS, "umap_dims": 3})}
    assert [f"{one.check}: {one.why}" for one in found.values() if not one.ok] == []
    assert not found["uses seed is correct"].applies


def test_umap_for_real(layer: tuple[MemorySite, MemoryTokens]) -> None:
    pytest.importorskip("umap", reason="umap-learn is not installed: the ablation was not run")
    site, tokens = layer
    first, again, other = (
        methods.create("elude", **SETTINGS, umap_dims=3).fit(tokens, site, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.weights, again.weights)
    assert not torch.equal(first.n_noise, other.n_noise), "the seed is used"


def test_a_run_with_umap_says_what_it_is(photo_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("umap", reason="umap-learn is not installed: the ablation was not run")
    entries = [{"name": "elude", "config": {"top_k": 60, "min_cluster_size": 10, "umap_dims": 2}}]
    suite = suite_of(
        photo_folder,
        backbone="tiny_cnn",
        seeds={"tokens": [1], "init": [42, 7]},
        methods=entries,
        evaluation={"top_images": 6, "batch_size": 5, "metrics": ["r2"]},
    )
    assert run(suite, tmp_path / "r.duckdb").finished == 2
    cells = open_store(tmp_path / "r.duckdb").cells()
    assert sorted(cells["init_seed"]) == [7, 42]
    assert [claims["stable"] for claims in cells["claims"]] == [False, False]
