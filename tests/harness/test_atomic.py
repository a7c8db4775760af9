"""Partial files of dead processes are removed, those of live processes are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.atomic import create_partial, remove_leftovers


def test_only_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, kept = [], []
    for target, folder in (
        (tmp_path / "probe", False),
        (tmp_path / "tokens" / "x", True),
        (tmp_path / "heads" / "x", False),
    ):
        mine = create_partial(target, folder=folder)
        theirs = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
        if folder:
            theirs.mkdir()
            (theirs / "shard").write_bytes(b"x")
        else:
            theirs.write_bytes(b"x")
        kept.append(mine)
        left.append(theirs)
    remove_leftovers(tmp_path)
    assert [path.exists() for path in left] == [False] * 3 and [path.exists() for path in kept] == [True] * 3
