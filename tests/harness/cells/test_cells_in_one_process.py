"""A cell has the same bits alone and after any other cell of the same process, with one thread and with two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT, SUPPORT

pytestmark = pytest.mark.run


def differing(pictures: Path, cache: Path, threads: int, orders: str) -> list[Any]:
    """Chains of methods, and which cell of each has other bits than the same cell computed alone."""
    program = SUPPORT / "forked_cells.py"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(SUPPORT))),
    }
    command = [sys.executable, str(program), str(pictures), str(cache), orders]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["alone"] >= 20
    return list(answer["differ"])


@pytest.mark.slow
def test_every_method_after_all_others_in_both_orders(photo_folder: Path, tmp_path: Path) -> None:
    assert differing(photo_folder, tmp_path, 1, "both") == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_method_after_each_other_method(photo_folder: Path, tmp_path: Path, threads: int) -> None:
    assert differing(photo_folder, tmp_path, threads, "pairs") == []
