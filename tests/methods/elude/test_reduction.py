"""ELUDe's ablation with UMAP: what is clustered, and that it no longer claims what holds without it."""

from __future__ import annotations

import sys
from contextlib import nullcontext
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
from harness.doctor import needs
from harness.run import run
from harness.suites import load_suite, parse_suite
from harness.suites.overrides import with_settings
from harness.suites.tiny import scaled
from methods.base import make_config
from methods.elude.method import ELUDe
from methods.elude.reduction import _cuml, reduce_dimensions
from methods.errors import UserError
from methods.file_settings import plain_config
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


# ---- the two implementations


@pytest.mark.parametrize(
    ("version", "ids"),
    [
        # From before there was a choice of the implementation, of margins, and of a wanted expansion factor.
        (1, ["7e69404a2535b6b1", "3099a09a3a16f6db", "f35601ccb0958263"]),
        # Since weights without a share are exactly zero.
        (2, ["03f70a987fd787d0", "3ab4a37786ca4246", "d9d5303ba9439a60"]),
    ],
)
def test_the_identity_of_these_cells_must_not_change(
    version: int, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ELUDe.spec.version == 2
    monkeypatch.setattr(ELUDe, "spec", ELUDe.spec._replace(version=version))
    with_umap = {"name": "elude", "config": {"umap_dims": 10}}
    suite = parse_suite(
        {
            "name": "golden",
            "data": {"dataset": "photos", "evaluation": 100},
            "probing": {"crops": 1, "tokens_per_image": 8},
            "evaluation": {"top_images": 20, "metrics": ["r2", "ms_score"]},
            "targets": [{"backbone": "efficientnet_lite0", "site": "conv_head"}],
            "methods": [{"name": "elude"}, with_umap, {"name": "random_split", "config": {"counts_of": with_umap}}],
        }
    )
    cells = cells_of(suite, prepare(suite, device="cpu"))
    assert [cell.cell_id for cell in cells] == ids


def test_rows_of_the_two_implementations_are_never_averaged(photo_folder: Path) -> None:
    cells = [
        planned(photo_folder, {"umap_dims": 2, **chosen})[0]
        for chosen in ({}, {"umap_backend": "umap-learn"}, {"umap_backend": "cuml"})
    ]
    assert len({cell.config_id for cell in cells}) == len({cell.cell_id for cell in cells}) == 2
    assert cells[0].cell_id == cells[1].cell_id and cells[0].fit_id != cells[2].fit_id


@pytest.mark.parametrize("backend", ["umap-learn", "cuml"])
def test_the_implementation_survives_a_round_trip(backend: str) -> None:
    config = make_config(ELUDe, {"umap_dims": 2, "umap_backend": backend})
    values = config.model_dump(mode="json")
    assert ("umap_backend" in values) == (backend == "cuml")
    assert make_config(ELUDe, values) == config and config.umap_backend == backend  # type: ignore[attr-defined]


def test_an_implementation_without_umap_is_refused() -> None:
    with pytest.raises(UserError, match="umap_backend = 'cuml' has no effect without umap_dims"):
        methods.create("elude", umap_backend="cuml")
    assert methods.create("elude", umap_backend="umap-learn").config == ELUDe.Config()


def test_cuml_on_a_cpu_is_refused(layer: tuple[MemorySite, MemoryTokens]) -> None:
    with pytest.raises(UserError, match="'cuml' computes on an NVIDIA GPU, and the device is cpu"):
        methods.create("elude", **SETTINGS, umap_dims=2, umap_backend="cuml").fit(layer[1], layer[0])


class OnGPU:
    """Stands in for a tensor on a GPU."""

    device = torch.device("cuda", 0)

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def contiguous(self) -> OnGPU:
        return self


def test_cuml_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(UserError, match=r"disentanglement-harness\[cuml\]"):
        _cuml(OnGPU(np.ones((9, 4))), {})  # type: ignore[arg-type]


@pytest.mark.usefixtures("fake_umap")
def test_cuml_is_called_with_the_same_settings_and_exact_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {name: type(sys)(name) for name in ("cupy", "cuml", "cuml.manifold")}
    modules["cupy"].from_dlpack = lambda tensor: tensor.values  # type: ignore[attr-defined]
    modules["cuml.manifold"].UMAP = FakeUMAP  # type: ignore[attr-defined]
    for name, fake in modules.items():
        monkeypatch.setitem(sys.modules, name, fake)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    points = np.random.default_rng(0).random((30, 6)).astype(np.float32)
    settings = {"n_components": 2, "n_neighbors": 15, "min_dist": 0.0, "metric": "euclidean", "random_state": 4}
    embedded = _cuml(OnGPU(points), settings)  # type: ignore[arg-type]
    assert embedded.shape == (30, 2) and embedded.dtype == torch.float32
    assert FakeUMAP.calls == [{**settings, "build_algo": "brute_force_knn", "output_type": "numpy"}]
    FakeUMAP.calls.clear()
    reduce_dimensions(torch.from_numpy(points), 2, seed=4)
    assert FakeUMAP.calls == [{**settings, "n_jobs": 1}]


@pytest.mark.gpu
def test_cuml_for_real() -> None:
    """Two groups that no embedding mixes; the same seed gives the same embedding up to three digits."""
    pytest.importorskip("cuml", reason="cuML is not installed")
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(400, 20, generator=generator) + 40 * (torch.arange(400) % 2)[:, None]
    first, again = (reduce_dimensions(points.cuda(), 3, seed=1, backend="cuml") for _ in range(2))
    assert first.is_cuda and first.shape == (400, 3)
    torch.testing.assert_close(first, again, rtol=1e-2, atol=1e-2)
    distances = torch.cdist(first, first).fill_diagonal_(torch.inf)
    assert bool((distances.argmin(1) % 2 == torch.arange(400, device="cuda") % 2).all())


def test_the_papers_table_needs_cuml_or_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cuML one row is missing; nothing of it is fitted on one thread unless that is asked for."""
    monkeypatch.setattr(needs, "_has", lambda module: module != "cuml")
    suite = load_suite("table7")
    missing = [need for need in needs.needs(suite) if need.stops == "method" and not need.check.ok]
    assert [need.check.what for need in missing] == ["cuml, for ELUDe, UMAP"]
    assert "--set method.elude.umap_backend=umap-learn" in missing[0].check.remedy
    assert "--skip-missing" in missing[0].check.remedy and "days" in missing[0].check.remedy
    chosen = with_settings(suite, ["method.elude.umap_backend=umap-learn"])
    assert [need for need in needs.needs(chosen) if need.stops == "method" and not need.check.ok] == []
    (target,), (before,) = chosen.targets, suite.targets
    for entry, original in zip(chosen.methods_of(target), suite.methods_of(before), strict=True):
        method = methods.METHODS.get(entry.name)
        one, other = (plain_config(make_config(method, part.config)) for part in (entry, original))
        other.pop("umap_backend", None)
        assert one == other, "the rows without UMAP keep their ids"


def test_at_reduced_size_umap_needs_no_gpu() -> None:
    small = scaled(load_suite("table7"), "tiny").suite
    (target,) = small.targets
    backends = {
        make_config(ELUDe, entry.config).umap_backend  # type: ignore[attr-defined]
        for entry in small.methods_of(target)
        if entry.name == "elude"
    }
    assert backends == {"umap-learn"}


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
