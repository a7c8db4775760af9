"""Damaged files of the cache: removed and made again, whatever the damage, and never waited for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from harness import datasets
from harness.activations.baseline import _read as read_baseline
from harness.activations.cached import DAMAGE, read_cached
from harness.activations.token_set import TokenSet
from harness.datasets.loading import BrokenReport


def _token_set(folder: Path) -> tuple[TokenSet, dict[str, str]]:
    tokens = TokenSet(folder)
    tokens.check()
    return tokens, tokens.meta["skipped"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "meta", ["[]", "7", "null", "{}", "NaN", "[" * 100_000, '{"shards": [-1], "widths": {}}', '{"shards": 3}', None]
)
def test_a_damaged_token_set_is_removed(tmp_path: Path, photo_folder: Path, meta: str | None) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    os.mkfifo(folder / "meta.json") if meta is None else (folder / "meta.json").write_text(meta)
    images = datasets.load(f"folder:{photo_folder}")
    assert read_cached(folder, _token_set, images, BrokenReport()) is None
    assert not folder.exists()


def test_an_error_of_the_program_is_no_damage(tmp_path: Path, photo_folder: Path) -> None:
    def read(path: Path) -> NoReturn:
        raise RuntimeError("a fault of the program")

    images = datasets.load(f"folder:{photo_folder}")
    with pytest.raises(RuntimeError, match="a fault of the program"):
        read_cached(tmp_path, read, images, BrokenReport())


def test_a_declared_size_is_not_allocated(tmp_path: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + "\n"
    file = tmp_path / "index.npy"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    (tmp_path / "meta.json").write_text(json.dumps({}))
    passes: Any = None
    with pytest.raises(ValueError, match="mmap"):
        read_baseline(tmp_path, passes, passes, 1)
    np.save(file, np.arange(3))
    with pytest.raises(DAMAGE, match="There is no token set"):
        read_baseline(tmp_path, passes, passes, 1)
