"""Folders of formats on the Hub: which files are downloaded, several dictionaries in one repository, and no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fake_hub import Answer, FakeHub, client_of, fake_hub
from original_dictionaries import DICTIONARIES, assert_as_expected, cases, expected

import methods
from harness.check import CheckTarget, check, targets
from methods import pretrained
from methods.pretrained import download
from methods.pretrained.download import resolve
from methods.pretrained.hub_files import choices
from methods.pretrained.reference import HubFile
from methods.pretrained.weight_formats import FORMATS

REPOSITORY = "me/saes"
#: Formats whose checkpoints are folders.
FOLDERS = sorted(
    path.name for path in DICTIONARIES.iterdir() if path.is_dir() and path.name not in ("overcomplete", "saev")
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as server:
        client_of(server, tmp_path / "cache", monkeypatch)
        yield server


def files(format_name: str, name: str, folder: str = "") -> dict[str, bytes]:
    """Return the files of a checkpoint, as they are put into a repository."""
    paths = (DICTIONARIES / format_name / name).iterdir()
    kept = {path.name: path.read_bytes() for path in paths if not path.name.startswith("expected")}
    return {f"{folder}/{name}" if folder else name: content for name, content in kept.items()}


def put(hub: FakeHub, *contents: dict[str, bytes]) -> str:
    return hub.put(REPOSITORY, **{name: content for each in contents for name, content in each.items()})


def downloaded(hub: FakeHub) -> set[str]:
    return {path.partition("/resolve/")[2].partition("/")[2] for method, path, _ in hub.requests if "/resolve/" in path}


def refused(reference: str) -> str:
    with pytest.raises(methods.UserError) as error:
        pretrained.load(reference)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    return str(error.value)


@pytest.mark.parametrize("format_name", FOLDERS)
def test_a_folder_of_each_format_is_downloaded_and_computed_as_its_program_does(hub: FakeHub, format_name: str) -> None:
    name = cases(format_name)[0]
    settings = {"normalize_activations": "none"} if name == "older" else {}
    content = files(format_name, name)
    put(hub, content, {"README.md": b"#", "training_log.json": b"{}", "sub/unused.json": b"{}"})
    sae = pretrained.load(f"hf:{REPOSITORY}", **settings)
    assert sae.source is not None and sae.source.format == format_name
    assert_as_expected(sae, expected(format_name, name))
    assert downloaded(hub) <= set(content)


def test_one_of_several_dictionaries_is_named_by_its_folder(hub: FakeHub) -> None:
    put(hub, files("saelens", "topk", "layer_9/topk"), files("saelens", "gated", "layer_10/gated"))
    message = refused(f"hf:{REPOSITORY}")
    assert (
        "has 2 folders of weights: name one of them" in message and "They are layer_10/gated, layer_9/topk." in message
    )
    commit = hub.repositories[REPOSITORY].commits[-1][0]
    for reference in (f"hf:{REPOSITORY}/layer_9/topk", f"hf:{REPOSITORY}@{commit}/layer_9/topk/"):
        hub.requests.clear()
        assert_as_expected(pretrained.load(reference), expected("saelens", "topk"))
        assert all(path.startswith("layer_9/topk/") for path in downloaded(hub))
    # A folder above the only dictionary in it.
    assert_as_expected(pretrained.load(f"hf:{REPOSITORY}/layer_10"), expected("saelens", "gated"))
    assert "has no file or folder 'layer_9/topq'. Did you mean" in refused(f"hf:{REPOSITORY}/layer_9/topq")
    notes = pretrained.load(f"hf:{REPOSITORY}/layer_9/topk").notes
    assert any(f"The weights are 'layer_9/topk' of hf:{REPOSITORY} at revision {commit}" in note for note in notes)


def test_a_file_of_a_folder_is_refused_as_on_this_machine(hub: FakeHub) -> None:
    put(hub, files("saelens", "topk", "a"), files("dictionary_learning", "topk", "b"))
    message = refused(f"hf:{REPOSITORY}/a/sae_weights.safetensors")
    assert "is one file of a folder of the format saelens" in message
    assert "has 2 folders of weights" in refused(f"hf:{REPOSITORY}")
    assert "names no file of weights" in refused(f"hf:{REPOSITORY}/a/cfg.json")


def test_a_pickled_file_is_read_if_it_is_named(hub: FakeHub) -> None:
    content = files("overcomplete", "topk_untied")
    put(hub, {"x/sae.pth": content["sae.pth"]})
    assert "are read only if they are named: x/sae.pth" in refused(f"hf:{REPOSITORY}")
    sae = pretrained.load(f"hf:{REPOSITORY}/x/sae.pth", k=3)
    assert sae.source is not None and sae.source.format == "overcomplete"
    put(hub, {"x/evil.pt": b"cos\nsystem\n(S'touch evil'\ntR."})
    assert "is of no known format of weights: 'evil.pt'" in refused(f"hf:{REPOSITORY}/x/evil.pt")


def test_a_plain_file_beside_a_configuration_is_still_a_file(hub: FakeHub) -> None:
    from safetensors.torch import save

    tensors = {"W_enc": torch.eye(3, 5), "W_dec": torch.eye(5, 3)}
    put(hub, {"sae.safetensors": save(tensors), "config.json": b"{}"})
    sae = pretrained.load(f"hf:{REPOSITORY}")
    assert sae.source is not None and sae.source.format == "plain"
    assert resolve(HubFile.of(f"hf:{REPOSITORY}")).names is None


def test_files_that_settings_name_are_downloaded(hub: FakeHub) -> None:
    put(hub, files("saev", cases("saev")[0]), {"mean.pt": b"broken", "other.pt": b""})
    with pytest.raises(methods.UserError, match=r"'mean\.pt' cannot be read as a checkpoint"):
        pretrained.load(f"hf:{REPOSITORY}", act_mean="mean.pt")
    assert "mean.pt" in downloaded(hub) and "other.pt" not in downloaded(hub)


def test_without_a_network_the_same_files_are_read(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    put(hub, files("saelens", "topk", "a"), files("saelens", "gated", "b"))
    online = resolve(HubFile.of(f"hf:{REPOSITORY}/a"))
    download._resolved.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve(HubFile.of(f"hf:{REPOSITORY}/a")) == online
    # Part of a folder, as an interrupted download leaves it.
    (online.path / "sae_weights.safetensors").unlink()
    download._resolved.clear()
    assert "no safetensors file" in refused(f"hf:{REPOSITORY}/a") or "not in the cache" in refused(f"hf:{REPOSITORY}/a")
    assert "is not in the cache" in refused(f"hf:{REPOSITORY}/b")


def test_the_identity_is_the_content_of_all_files(hub: FakeHub) -> None:
    method = methods.create("pretrained_sae", weights=f"hf:{REPOSITORY}")
    content = files("saelens", "topk")
    put(hub, content)
    first = method.fingerprint()
    put(hub, {"README.md": b"# new"})
    download._resolved.clear()
    assert method.fingerprint() == first
    put(hub, {"cfg.json": content["cfg.json"] + b" "})
    download._resolved.clear()
    assert method.fingerprint() != first


def test_a_large_configuration_is_not_downloaded(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    put(hub, files("saelens", "topk"), {"cfg.json": b" " * (2 << 20)})
    monkeypatch.setattr(download, "MOST_CONFIGURATION", 1 << 20)
    assert "'cfg.json' of hf:me/saes is larger than 1 MiB, the largest configuration" in refused(f"hf:{REPOSITORY}")
    assert not downloaded(hub)
    put(hub, files("saelens", "topk"))
    hub.answers[f"GET /{REPOSITORY}/resolve/main/cfg.json"] = Answer(200, stream=b" " * (1 << 16))
    assert "is larger than 1 MiB" in refused(f"hf:{REPOSITORY}")


def test_files_that_are_too_large_together_are_not_downloaded(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    content = files("saelens", "topk")
    put(hub, content)
    monkeypatch.setattr(download, "MOST_BYTES", sum(map(len, content.values())) - 1)
    assert "is larger than" in refused(f"hf:{REPOSITORY}") and not downloaded(hub)
    monkeypatch.setattr(download, "MOST_BYTES", sum(map(len, content.values())))
    assert pretrained.load(f"hf:{REPOSITORY}").n_units == 24


def test_which_files_a_format_reads_are_files_of_the_folder() -> None:
    for entry in FORMATS:
        format_class = entry.load()
        assert not format_class.files_of([]) and not format_class.files_of(["README.md", "a.txt"])
        if format_class.name not in FOLDERS:
            continue
        for case in cases(format_class.name):
            names = [*files(format_class.name, case), "README.md"]
            assert set(format_class.files_of(names)) <= set(names) - {"README.md"} and format_class.files_of(names)


def test_harness_check_takes_a_repository(hub: FakeHub) -> None:
    put(hub, files("saelens", "topk", "layer_9"))
    with pytest.raises(
        methods.UserError, match=r"is a method and a backbone and a dataset; choose one, e.g. with --kind"
    ):
        targets(f"hf:{REPOSITORY}")
    assert targets(f"hf:{REPOSITORY}", kind="backbone") == [CheckTarget("backbone", "hf", REPOSITORY)]
    for reference, kind in ((f"hf:{REPOSITORY}", "method"), (f"hf:{REPOSITORY}/layer_9", None)):
        (target,) = targets(reference, kind=kind)
        assert target == CheckTarget("method", "pretrained_sae", reference)
    assert check(target).ok


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(methods.UserError, match="has no file or folder 'b'"):
        choices(HubFile(REPOSITORY, None, "b"), ["a/cfg.json", "a/sae_weights.safetensors"])
