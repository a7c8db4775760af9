"""``harness export-dictionary``: the dictionary of a cell as a file that scores the same, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pytest
import torch
from command_line import harness
from safetensors import safe_open
from small_runs import suite_of

import methods
from harness.hub import export_dictionary
from harness.run import run
from methods import pretrained
from results import Store, open_store

pytestmark = pytest.mark.run

METRICS = {"top_images": 4, "batch_size": 18, "metrics": ["l0", "r2"]}
VERB = "export-dictionary"


@pytest.fixture(scope="module")
def finished(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of finished cells, and their fits beside it."""
    folder = tmp_path_factory.mktemp("finished")
    suite = suite_of(photo_folder, "topk_sae", "elude", "pca", evaluation=METRICS)
    assert not run(suite, folder / "results.duckdb").failed
    return folder


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Store:
    shutil.copytree(finished, tmp_path / "copy")
    return open_store(tmp_path / "copy" / "results.duckdb")


def cell_id(store: Store, method: str, token_seed: int = 1) -> str:
    cells = store.cells()
    return str(cells[(cells["method"] == method) & (cells["token_seed"] == token_seed)].iloc[0].cell_id)


def refused(store: Store, *arguments: str) -> str:
    done = harness(VERB, *arguments, "--store", str(store.path), cwd=store.path.parent, code=2)
    assert len(done.stderr.strip().splitlines()) == 1 and not done.stdout.strip()
    return done.stderr


def test_the_file_has_the_codes_of_the_cell_and_says_where_it_is_from(store: Store, tmp_path: Path) -> None:
    cell = cell_id(store, "topk_sae")
    done = harness(VERB, cell[:8], "my_sae.safetensors", "--store", str(store.path), cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "Written: my_sae.safetensors (topk_sae: 48 units of 24 features)",
        "Load it: methods.pretrained.load('my_sae.safetensors')",
    ]
    sae = pretrained.load(tmp_path / "my_sae.safetensors")
    row = store.cells().set_index("cell_id").loc[cell]
    fit = methods.load(store.path.parent / row.artifact)
    x = torch.randn(20, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sae.encode(x), fit.encode(x)) and torch.equal(
        sae.decode(sae.encode(x)), fit.decode(fit.encode(x))
    )
    with safe_open(str(tmp_path / "my_sae.safetensors"), framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["cell_id"] == cell and metadata["harness_version"] and metadata["method_version"] == "2"
    assert (metadata["site"], metadata["backbone"], metadata["method"]) == (row.site, "tiny_vit", "topk_sae")
    assert str(tmp_path) not in json.dumps(metadata)


def test_a_folder_of_saelens_as_json(store: Store, tmp_path: Path) -> None:
    cell = cell_id(store, "pca")
    arguments = (cell, "sae_folder", "--format", "saelens", "--json", "--store", str(store.path))
    written = json.loads(harness(VERB, *arguments, cwd=tmp_path).stdout)
    assert written == {
        **{"cell_id": cell, "method": "pca", "format": "saelens", "path": "sae_folder", "n_units": 24, "width": 24}
    }
    config = json.loads((tmp_path / "sae_folder" / "cfg.json").read_text())
    assert config["architecture"] == "abstopk" and config["k"] == config["d_sae"] == 24
    assert config["metadata"]["cell_id"] == cell and config["metadata"]["model_name"] == "tiny_vit"


def test_the_exported_dictionary_scores_as_the_cell(store: Store, photo_folder: Path, tmp_path: Path) -> None:
    """The same layer, tokens and metrics: the row of the file has the scores of the row that it was exported from."""
    paths = {"plain": tmp_path / "sae.safetensors", "saelens": tmp_path / "sae"}
    cell = cell_id(store, "topk_sae")
    for name, path in paths.items():
        export_dictionary(store, cell, path, format=name)
    entries = [
        {"name": "pretrained_sae", "label": name, "config": {"weights": str(path)}} for name, path in paths.items()
    ]
    suite = suite_of(photo_folder, evaluation=METRICS, methods=entries, seeds={"tokens": [1]})
    assert not run(suite, tmp_path / "again.duckdb").failed
    again = open_store(tmp_path / "again.duckdb")
    wanted = store.scores(cell_id=cell).set_index("metric")["value"]
    for _, row in again.cells().iterrows():
        scores = again.scores(cell_id=row.cell_id).set_index("metric")["value"]
        for metric in ("r2", "l0"):
            assert scores[metric] == pytest.approx(wanted[metric], rel=1e-6), (row.label, metric)
        # The files name the site and the backbone that they are put on.
        assert not any("The weights name" in note for note in row.notes)


def test_an_existing_file_is_replaced_with_force_only(store: Store, tmp_path: Path) -> None:
    cell, file = cell_id(store, "topk_sae"), tmp_path / "a.safetensors"
    file.write_text("mine")
    message = refused(store, cell, str(file))
    assert (
        "exists: give another path, or overwrite it (overwrite=True, or --force)" in message
        and file.read_text() == "mine"
    )
    harness(VERB, cell, str(file), "--force", "--store", str(store.path), cwd=tmp_path)
    assert pretrained.load(file).n_units == 48


def test_requests_that_cannot_be_met_are_one_sentence(store: Store, tmp_path: Path) -> None:
    cell, out = cell_id(store, "topk_sae"), str(tmp_path / "a.safetensors")
    assert "matches 2 cells: give the id of one of them" in refused(store, "topk_sae", out)
    assert "There is no cell 'nothing'" in refused(store, "nothing", out)
    assert "elude has no form as a linear encoder" in refused(store, cell_id(store, "elude"), out)
    assert "formats that can be are plain, saelens" in refused(store, cell, out, "--format", "saev")
    assert "Did you mean saelens?" in refused(store, cell, out, "--format", "sealens")
    assert "ends in .safetensors" in refused(store, cell, str(tmp_path / "a.pt"))
    artifact = store.path.parent / store.cells().set_index("cell_id").loc[cell].artifact
    content = artifact.read_bytes()
    artifact.write_bytes(content.replace(b"[48,24]", b"[24,48]"))
    assert "with 24 units of 48 features it must be" in refused(store, cell, out)
    artifact.unlink()
    assert "is not beside the store" in refused(store, cell, out)
    with duckdb.connect(str(store.path)) as opened:
        opened.execute("UPDATE cells SET status = 'failed' WHERE cell_id = ?", [cell])
    assert "only finished cells have weights" in refused(store, cell, out)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
