"""Checkpoints that other programs wrote (``tests/fixtures/dictionaries``), and the codes that they compute."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from paths import FIXTURES
from safetensors.torch import load_file

from methods import pretrained
from methods.pretrained.pretrained_sae import PretrainedSAE

DICTIONARIES = FIXTURES / "dictionaries"
_EXPECTED = "expected.safetensors"


def cases(format_name: str) -> list[str]:
    """Return the names of the checkpoints of a format."""
    return sorted(path.name for path in (DICTIONARIES / format_name).iterdir() if path.is_dir())


def copied(format_name: str, name: str, folder: Path) -> Path:
    """Return a copy of a checkpoint without the expected values, which its program does not write."""
    target = folder / format_name / name
    shutil.copytree(DICTIONARIES / format_name / name, target, ignore=shutil.ignore_patterns("expected*"))
    return target


def expected(format_name: str, name: str) -> dict[str, torch.Tensor]:
    """Return the tokens ``x`` of a checkpoint, and the ``codes`` and ``output`` of its program."""
    return load_file(DICTIONARIES / format_name / name / _EXPECTED)


def assert_as_expected(sae: PretrainedSAE, values: dict[str, torch.Tensor]) -> None:
    """Check codes, which units are active, and outputs, to 1e-5."""
    codes = sae.encode(values["x"])
    torch.testing.assert_close(codes, values["codes"], rtol=1e-5, atol=1e-5)
    assert torch.equal(codes != 0, values["codes"] != 0) and 0 < float((codes != 0).float().mean()) < 1
    torch.testing.assert_close(sae.reconstruct(codes, values["x"]), values["output"], rtol=1e-5, atol=1e-5)


def assert_as_the_original(
    format_name: str, name: str, folder: Path, **settings: bool | int | float | str
) -> PretrainedSAE:
    """Check that a checkpoint is recognised, computed as by its program, and the same after saving and loading."""
    values = expected(format_name, name)
    sae = pretrained.load(copied(format_name, name, folder), **settings)
    assert sae.source is not None and sae.source.format == format_name
    assert_as_expected(sae, values)
    again = PretrainedSAE.load(sae.save(folder / "saved.safetensors"))
    assert torch.equal(again.encode(values["x"]), sae.encode(values["x"])) and again.notes == sae.notes
    return sae
