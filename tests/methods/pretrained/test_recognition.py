"""Every checkpoint that a program wrote is recognised as one format, or as one that refines others."""

from __future__ import annotations

from pathlib import Path

import pytest
from original_dictionaries import DICTIONARIES, cases, copied

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
