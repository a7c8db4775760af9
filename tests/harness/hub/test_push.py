"""A cell pushed to a hub, and loaded back from there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
import yaml
from command_line import harness_process
from fake_hub import TOKEN, Answer, FakeHub, client_of, fake_hub
from hostile_texts import hostile_texts
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from paths import ROOT
from safetensors import safe_open
from small_runs import suite_of

import methods
from harness.doctor import estimate
from harness.errors import UserError
from harness.hub import push
from harness.identity import digest
from harness.run import run
from methods import pretrained
from methods.pretrained import download
from results import Store, open_store

pytestmark = pytest.mark.run

REPOSITORY = "me/sae"
TO = f"hf:{REPOSITORY}"


@pytest.fixture(scope="module")
def finished(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of finished cells, and their fits beside it."""
    folder = tmp_path_factory.mktemp("finished")
    metrics = {"top_images": 4, "batch_size": 18, "metrics": ["l0", "r2", "ms_score"]}
    suite = suite_of(photo_folder, "topk_sae", "elude", "random_dictionary", evaluation=metrics)
    assert not run(suite, folder / "results.duckdb").failed
    return folder


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Store:
    shutil.copytree(finished, tmp_path / "copy")
    return open_store(tmp_path / "copy" / "results.duckdb")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as server:
        client_of(server, tmp_path / "cache", monkeypatch)
        yield server


def cell_of(store: Store, method: str) -> Any:
    cells = store.cells()
    return cells[(cells["method"] == method) & (cells["token_seed"] == 1)].iloc[0]


def refused(store: Store, cell: str, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        push(store, cell, TO, **options)
    message = str(error.value)
    assert len(message) < 900 and "\n" not in message and TOKEN not in message
    return message


def alter(store: Store, statement: str, *values: Any) -> None:
    with duckdb.connect(str(store.path)) as opened:
        opened.execute(statement, list(values))


# ---- without a network


def test_a_dry_run_writes_the_folder_without_a_network(store: Store, hub: FakeHub, tmp_path: Path) -> None:
    cell = cell_of(store, "topk_sae")
    pushed = push(store, cell.cell_id[:6], TO, dry_run=tmp_path / "out", license_id="cc-by-4.0", title="My SAE")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert pushed.uploaded is None and pushed.reference == TO and not hub.requests
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["cell_id"] == cell.cell_id == digest(config["identity"])
    assert config["method"]["name"] == "topk_sae" and config["method"]["version"] == 2
    assert config["config"] == cell.config and config["seeds"] == {"token": 1, "init": cell.init_seed}
    assert config["backbone"]["name"] == "tiny_vit" and config["site"] == cell.site
    assert config["dataset"]["probing_fingerprint"] == cell.probing_fingerprint
    assert {score["metric"] for score in config["scores"]} >= {"r2", "l0", "ms_score"}
    assert config["license"] == "cc-by-4.0" and config["harness_version"]
    first = (tmp_path / "out" / "README.md").read_text()
    push(store, cell.cell_id, TO, dry_run=tmp_path / "out", license_id="cc-by-4.0", title="My SAE")
    assert (tmp_path / "out" / "README.md").read_text() == first
    assert str(tmp_path) not in first + json.dumps(config)


def test_the_card_has_front_matter_scores_flags_and_how_to_load(store: Store, tmp_path: Path) -> None:
    cell = cell_of(store, "topk_sae")
    push(store, cell.cell_id, TO, dry_run=tmp_path / "out", license_id="mit")
    card = (tmp_path / "out" / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["license"] == "mit" and {"topk_sae", "sae"} <= set(matter["tags"]) and "base_model" not in matter
    r2 = store.scores(cell_id=cell.cell_id, metric="r2").iloc[0]
    assert "the units reconstruct | " in body
    assert f"| `r2` | {100 * r2.value:.2f} | {100 * r2.uncertainty:.2f} |" in body and f"| {r2.n} | % |" in body
    assert "# TopK SAE on tiny ViT" in body and cell.cell_id in body and "evidence_" not in body
    # One token seed more of the same configuration: no flag `one seed`, but a mean over both.
    assert "Mean over the 2 cells" in body and "## Flags" in body
    [code] = re.findall(r"```toml\n(.*?)```", body, re.S)
    suite = tomllib.loads(code)
    assert suite["methods"] == [{"name": "pretrained_sae", "label": REPOSITORY, "config": {"weights": TO}}] and suite[
        "targets"
    ] == [{"backbone": "tiny_vit", "site": cell.site}]
    assert f'pretrained.load("{TO}")' in python_of(body)
    data = ModelCard(card).data.to_dict()
    assert (data["license"], data["library_name"]) == ("mit", "disentanglement-harness") and "base_model" not in data


def test_a_flagged_row_says_so(store: Store, tmp_path: Path) -> None:
    cell = cell_of(store, "topk_sae")
    alter(store, "DELETE FROM cells WHERE token_seed = 2")
    push(store, cell.cell_id, TO, dry_run=tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "**Flagged: one seed.**" in card and "**one seed**: the spread over seeds is unknown" in card
    assert "No licence is stated" in card


def test_names_that_select_no_or_many_cells_are_explained(store: Store) -> None:
    options = {"dry_run": Path("nowhere")}
    assert "matches 2 cells" in refused(store, "topk_sae", **options)
    assert "There is no cell 'nothing'" in refused(store, "nothing", **options)
    for to in ("me/sae", "hf:sae", "hf:me/sae@main", "hf:me/sae/file.safetensors", "hf:../sae", "hf:me/.."):
        with pytest.raises(UserError, match="hf:USER/NAME"):
            push(store, "topk_sae", to)
    assert "--license" in refused(store, "topk_sae", license_id="MIT or so")
    assert not Path("nowhere").exists()


def test_a_folder_with_other_files_stays(store: Store, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    assert "has other files" in refused(store, cell_of(store, "elude").cell_id, dry_run=tmp_path)


def test_a_store_that_contradicts_itself_is_refused(store: Store, tmp_path: Path) -> None:
    cell = cell_of(store, "topk_sae")
    options = {"dry_run": tmp_path / "out"}
    artifact = store.path.parent / cell.artifact
    other = store.path.parent / cell_of(store, "elude").artifact
    content = artifact.read_bytes()
    artifact.write_bytes(other.read_bytes())
    assert "has another method or other settings" in refused(store, cell.cell_id, **options)
    artifact.write_bytes(b"<html>")
    assert "not a method saved" in refused(store, cell.cell_id, **options)
    artifact.write_bytes(content.replace(b"[48,24]", b"[24,48]"))
    assert content.count(b"[48,24]") == 2 and "are damaged" in refused(store, cell.cell_id, **options)
    artifact.unlink()
    assert "is not beside the store" in refused(store, cell.cell_id, **options)
    artifact.write_bytes(content)
    alter(store, "UPDATE cells SET artifact = '/etc/passwd' WHERE cell_id = ?", cell.cell_id)
    assert "is not beside the store" in refused(store, cell.cell_id, **options)
    alter(store, "UPDATE cells SET artifact = ? WHERE cell_id = ?", cell.artifact, cell.cell_id)
    alter(store, "UPDATE cells SET backbone = 'dinov2_vitl14' WHERE cell_id = ?", cell.cell_id)
    assert "contradicts its id" in refused(store, cell.cell_id, **options)
    assert not (tmp_path / "out" / "README.md").exists()


def test_hostile_texts_of_a_store_are_no_markup(store: Store, tmp_path: Path) -> None:
    cell = cell_of(store, "topk_sae")
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    texts = hostile_texts(300, seed=3)
    for number in range(0, 300, 60):
        some = texts[number : number + 60]
        evil = "\n\n---\nevil: true\n---\n<script>alert(1)</script>" + "".join(some)
        for column in ("label", "backbone_title", "dataset", "suite", "device", "probing_fingerprint"):
            alter(store, f"UPDATE cells SET {column} = ?", evil)
        alter(store, "UPDATE cells SET notes = ?", json.dumps([*some, evil]))
        alter(store, "UPDATE scores SET unit = ?, uncertainty_kind = ?", some[0], evil)
        alter(store, "UPDATE scores SET metric = 'l0' || ? WHERE metric = 'l0'", evil)
        push(store, cell.cell_id, TO, dry_run=tmp_path / "out", title=evil)
        card = (tmp_path / "out" / "README.md").read_text()
        front, body = card.split("\n---\n", 1)
        assert set(yaml.safe_load(front.removeprefix("---\n"))) == {"library_name", "tags"}
        tokens = parser.parse(body)
        blocks = {token.content.strip() for token in tokens if token.type == "html_block"}
        assert all(re.fullmatch(r"<details><summary>All \d+ scores</summary>|</details>", one) for one in blocks)
        for token in tokens:
            inner = {child.type for child in token.children or []}
            if token.content.startswith("**Flagged: "):
                inner -= {"link_open"}  # to the section of this page
            assert not inner & {"link_open", "image", "html_inline", "em_open", "s_open"}, token.content
        assert [token.content for token in tokens if token.type == "fence" and "evil: true" in token.content] == []


# ---- to a hub and back


def test_what_was_pushed_loads_back_with_the_same_codes(store: Store, hub: FakeHub, capsys: Any) -> None:
    cell = cell_of(store, "topk_sae")
    pushed = push(store, cell.cell_id, TO, private=True, license_id="mit")
    assert hub.repositories[REPOSITORY].private
    commit, files = hub.repositories[REPOSITORY].commits[-1]
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    assert pushed.uploaded is not None and pushed.uploaded.revision == commit
    assert pushed.reference == f"{TO}@{commit}" and pushed.uploaded.url == f"{hub.url}/{REPOSITORY}"
    written = json.loads(files["config.json"])["weights"]
    assert written["sha256"] == hashlib.sha256(files["model.safetensors"]).hexdigest()
    loaded = pretrained.load(pushed.reference)
    original = methods.load(store.path.parent / cell.artifact)
    x = torch.randn(50, cell.d_out)
    assert torch.equal(loaded.encode(x), original.encode(x))
    assert torch.equal(loaded.decode(loaded.encode(x)), original.decode(original.encode(x)))
    assert any(cell.cell_id in note and "tiny_vit" in note for note in loaded.notes)
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err
    assert all(TOKEN.encode() not in content for content in files.values())


@pytest.mark.slow
def test_the_command_line_pushes_and_another_process_loads(store: Store, tmp_path: Path) -> None:
    cell = cell_of(store, "topk_sae")
    with fake_hub() as hub:
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }
        words = ("push", cell.cell_id, "--to", TO, "--store", str(store.path), "--license", "mit", "--json")
        done = harness_process(*words, cwd=tmp_path, **environment)
        assert TOKEN not in done.stdout + done.stderr
        reference = json.loads(done.stdout)["reference"]
        assert reference == f"{TO}@{hub.repositories[REPOSITORY].commits[-1][0]}"
        # The code of the card, as it is pasted.
        card = hub.repositories[REPOSITORY].commits[-1][1]["README.md"].decode()
        code = f"{python_of(card)}\nimport sys\ntorch.save((x, codes, x_hat, atoms), sys.argv[1])"
        python = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        arguments = [sys.executable, "-c", code, str(tmp_path / "codes.pt")]
        subprocess.run(arguments, env=python, check=True, timeout=200)
    original = methods.load(store.path.parent / cell.artifact)
    x, codes, x_hat, atoms = torch.load(tmp_path / "codes.pt", weights_only=True)
    assert x.shape == (4, cell.d_out) and torch.equal(codes, original.encode(x))
    assert torch.equal(x_hat, original.decode(codes)) and torch.equal(atoms, original.dictionary().atoms)


def python_of(card: str) -> str:
    """Return the block of Python of a card."""
    [code] = re.findall(r"```python\n(.*?)```", card, re.S)
    return str(code)


def test_another_kind_of_method_says_how_it_is_loaded(store: Store, hub: FakeHub) -> None:
    cell = cell_of(store, "elude")
    assert push(store, cell.cell_id, TO).reference is None
    files = hub.repositories[REPOSITORY].commits[-1][1]
    card = files["README.md"].decode()
    assert 'METHODS.get("elude").load(path)' in card and "pretrained.load" not in card
    names: dict[str, Any] = {}
    exec(python_of(card), names)
    assert names["codes"].shape == (4, cell.n_units)
    with pytest.raises(UserError, match=r"METHODS.get\('elude'\).load"):
        pretrained.load(TO)
    path = download.hub_package().hf_hub_download(REPOSITORY, "model.safetensors")
    x = torch.randn(9, cell.d_out)
    original = methods.load(store.path.parent / cell.artifact)
    width = original.input_width or (cell.d_in if original.spec.reads == "input" else cell.d_out)
    x = torch.randn(9, width)
    assert torch.equal(methods.METHODS.get("elude").load(path).encode(x), original.encode(x))


def test_a_second_push_is_a_commit_and_a_foreign_repository_is_kept(store: Store, hub: FakeHub) -> None:
    cell = cell_of(store, "random_dictionary")
    push(store, cell.cell_id, TO)
    push(store, cell_of(store, "topk_sae").cell_id, TO)
    assert len(hub.repositories[REPOSITORY].commits) == 2
    hub.put("me/bert", config__json=b'{"model_type": "bert"}', model__safetensors=b"bert")
    with pytest.raises(UserError, match="did not write"):
        push(store, cell.cell_id, "hf:me/bert")
    assert len(hub.repositories["me/bert"].commits) == 1
    push(store, cell.cell_id, "hf:me/bert", replace=True)
    assert len(hub.repositories["me/bert"].commits) == 2


CREATE, COMMIT = "POST /api/repos/create", f"POST /api/models/{REPOSITORY}/commit/main"


@pytest.mark.parametrize(
    ("request_line", "answer", "expected"),
    [
        (CREATE, Answer(200, b"<html>hello</html>"), "failed"),
        (CREATE, Answer(401, b"{}"), "does not let you write"),
        (CREATE, Answer(403, f'{{"error": "{TOKEN} may not write"}}'.encode()), "does not let you write"),
        (f"GET /api/models/{REPOSITORY}", Answer(200, b"[]"), "failed"),
        (f"POST /api/models/{REPOSITORY}/preupload/main", Answer(200, b"{}"), "failed"),
        (f"POST /{REPOSITORY}.git/info/lfs/objects/batch", Answer(200, b'{"objects": 3}'), "failed"),
        (COMMIT, Answer(400, f'{{"error": "bad token {TOKEN}"}}'.encode()), "failed"),
        (COMMIT, Answer(200, b'{"commitOid": "../x", "commitUrl": "http://evil/x"}'), "failed"),
        (COMMIT, Answer(302, b"", {"Location": "http://127.0.0.1:9/"}), "failed"),
    ],
)
def test_hostile_answers_to_an_upload_end_in_one_sentence(
    store: Store, hub: FakeHub, request_line: str, answer: Answer, expected: str
) -> None:
    hub.answers[request_line] = answer
    assert expected in refused(store, cell_of(store, "random_dictionary").cell_id)


def test_without_a_login_or_network_nothing_is_tried(
    store: Store, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    cell = cell_of(store, "random_dictionary").cell_id
    monkeypatch.delenv("HF_TOKEN")
    assert "Nobody is logged in" in refused(store, cell)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(store, cell)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert not hub.requests
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "failed" in refused(store, cell)


def test_checking_a_suite_downloads_nothing(hub: FakeHub, photo_folder: Path) -> None:
    entries = [{"name": "pretrained_sae", "config": {"weights": TO}}]
    suite = suite_of(photo_folder, methods=entries)
    assert estimate(suite).cells == 2 and not hub.requests


def test_a_cell_of_pretrained_weights_follows_their_content(
    store: Store, hub: FakeHub, photo_folder: Path, tmp_path: Path
) -> None:
    push(store, cell_of(store, "topk_sae").cell_id, TO)
    evaluation = {"top_images": 4, "batch_size": 18, "metrics": ["l0", "r2", "encode_macs"]}
    entries = [{"name": "pretrained_sae", "config": {"weights": TO}}]
    suite = suite_of(photo_folder, seeds={"tokens": [1]}, evaluation=evaluation, methods=entries)

    def cells() -> Any:
        download._resolved.clear()
        assert not run(suite, tmp_path / "new.duckdb").failed
        return open_store(tmp_path / "new.duckdb").cells()

    first = cells()
    [commit] = [commit for commit, _ in hub.repositories[REPOSITORY].commits]
    assert len(first) == 1 and any(commit in note for note in first["notes"][0])
    both = {Path(p).parent: open_store(p) for p in (store.path, tmp_path / "new.duckdb")}
    r2 = [
        one.scores(metric="r2", cell_id=cell_of(one, name).cell_id)["value"].iloc[0]
        for one, name in zip(both.values(), ("topk_sae", "pretrained_sae"), strict=True)
    ]
    assert r2[0] == r2[1]
    # A new commit with the same weights is the same cell; other weights are another one.
    hub.put(REPOSITORY, NOTES__md=b"moved")
    assert len(cells()) == 1
    push(store, cell_of(store, "random_dictionary").cell_id, TO)
    assert len(cells()) == 2
    # A cell of pretrained weights can be pushed and loaded itself.
    again = open_store(tmp_path / "new.duckdb")
    newest = again.cells().iloc[0]
    pushed = push(again, newest.cell_id, "hf:me/again")
    x = torch.randn(9, newest.d_out)
    original = methods.load(tmp_path / newest.artifact)
    assert torch.equal(pretrained.load(str(pushed.reference)).encode(x), original.encode(x))


def test_the_file_has_no_path_of_this_machine(store: Store, tmp_path: Path, photo_folder: Path) -> None:
    cell = cell_of(store, "topk_sae")
    evaluation = {"top_images": 4, "batch_size": 18, "metrics": ["l0", "r2"]}
    entries = [{"name": "pretrained_sae", "config": {"weights": str(store.path.parent / cell.artifact)}}]
    suite = suite_of(photo_folder, seeds={"tokens": [1]}, evaluation=evaluation, methods=entries)
    assert not run(suite, tmp_path / "local" / "new.duckdb").failed
    local = open_store(tmp_path / "local" / "new.duckdb")
    push(local, "pretrained_sae", TO, dry_run=tmp_path / "out")
    with safe_open(str(tmp_path / "out" / "model.safetensors"), framework="pt") as file:
        header = file.metadata()["harness"]
    text = header + "".join((tmp_path / "out" / name).read_text() for name in ("README.md", "config.json"))
    assert str(tmp_path) not in text and str(store.path.parent) not in text
    x = torch.randn(9, cell.d_out)
    original = methods.load(store.path.parent / cell.artifact)
    assert torch.equal(pretrained.load(tmp_path / "out" / "model.safetensors").encode(x), original.encode(x))
