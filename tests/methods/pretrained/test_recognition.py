"""Every checkpoint that a program wrote is recognised as one format, or as one that refines others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from original_dictionaries import DICTIONARIES, assert_as_expected, cases, copied, expected

from methods import pretrained
from methods.errors import UserError
from methods.pretrained.reading import _recognised, _recognises
from methods.pretrained.source import Source
from methods.pretrained.weight_formats import FORMATS

FOLDERS = sorted(path.name for path in DICTIONARIES.iterdir() if path.is_dir() and path.name in FORMATS.names())
CHECKPOINTS = [(format_name, name) for format_name in FOLDERS for name in cases(format_name)]


@pytest.mark.parametrize(("format_name", "name"), CHECKPOINTS)
def test_a_checkpoint_is_recognised_as_one_format(format_name: str, name: str, tmp_path: Path) -> None:
    source = Source(copied(format_name, name, tmp_path))
    assert _recognised(source, name) == format_name
    recognised = {entry.name for entry in FORMATS if _recognises(entry.load(), source)}
    assert recognised - FORMATS.get(format_name).refines == {format_name}


@pytest.mark.parametrize("format_name", FOLDERS)
def test_a_file_alone_is_recognised_as_one_format_or_none(format_name: str) -> None:
    files = [path for path in (DICTIONARIES / format_name).rglob("*") if path.is_file()]
    for file in files:
        recognised = [entry.load() for entry in FORMATS if _recognises(entry.load(), Source(file))]
        refined = {name for each in recognised for name in each.refines}
        assert len([each for each in recognised if each.name not in refined]) <= 1, file


def test_formats_that_are_refined_exist() -> None:
    for entry in FORMATS:
        assert entry.load().refines <= set(FORMATS.names()) - {entry.name}


def test_every_format_says_what_it_reads_and_how_it_was_tested() -> None:
    for entry in FORMATS:
        format_class = entry.load()
        assert format_class.name == entry.name
        assert format_class.description and format_class.proof and all(format_class.settings.values())


def test_a_folder_of_two_formats_is_read_as_the_one_that_is_named(tmp_path: Path) -> None:
    folder = copied("saelens", "topk", tmp_path)
    for file in copied("dictionary_learning", "topk", tmp_path).iterdir():
        shutil.copy(file, folder)
    with pytest.raises(UserError, match="may be of the formats dictionary_learning, saelens: say which, with format="):
        pretrained.load(folder)
    for format_name in ("saelens", "dictionary_learning"):
        assert_as_expected(pretrained.load(folder, format=format_name), expected(format_name, "topk"))


def test_files_without_weights_end_in_one_sentence(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.pt", "ae.pt", "sae.pt"):
        (tmp_path / name).write_bytes(b"")
        os.mkfifo(tmp_path / f"fifo_{name}")
        (tmp_path / f"loop_{name}").symlink_to(tmp_path / f"loop_{name}")
        (tmp_path / f"gone_{name}").symlink_to(tmp_path / f"absent_{name}")
        for path in (tmp_path / name, *(tmp_path / f"{kind}_{name}" for kind in ("fifo", "loop", "gone"))):
            with pytest.raises(UserError) as refused:
                pretrained.load(path)
            assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    for name in ("empty.safetensors", "empty"):
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match="is of no known format of weights: it holds no file"):
            pretrained.load(tmp_path / name)


def test_links_to_weights_are_followed(tmp_path: Path) -> None:
    folder, links = copied("saelens", "topk", tmp_path), tmp_path / "links"
    links.mkdir()
    for file in folder.iterdir():
        (links / file.name).symlink_to(file)
    (tmp_path / "link").symlink_to(links)
    assert_as_expected(pretrained.load(tmp_path / "link"), expected("saelens", "topk"))
