"""What a killed process leaves half made is removed by the next one, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.atomic import sweep, workplace


def test_what_the_dead_left_goes_and_what_the_living_make_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, kept = [], []
    for place, folder in (
        (tmp_path / "probe", False),
        (tmp_path / "tokens" / "x", True),
        (tmp_path / "heads" / "x", False),
    ):
        mine = workplace(place, folder=folder)
        theirs = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
        if folder:
            theirs.mkdir()
            (theirs / "shard").write_bytes(b"x")
        else:
            theirs.write_bytes(b"x")
        kept.append(mine)
        left.append(theirs)
    sweep(tmp_path)
    assert [path.exists() for path in left] == [False] * 3 and [path.exists() for path in kept] == [True] * 3
