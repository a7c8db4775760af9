"""A chain of five kills ends up with the bits of an uninterrupted run, with one thread and with all cores."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from paths import SUPPORT
from small_runs import scores

KILLS = 5
CHAINS = {
    "ELUDe last": ("identity", "random_split", "topk_sae", "elude"),
    "ELUDe first": ("elude", "topk_sae", "identity"),
    "ELUDe alone": ("elude",),
}


def started(pictures: Path, store: Path, steps: int, methods: tuple[str, ...], threads: int | None) -> int:
    """Run the program to its end or its kill; its exit status."""
    program = SUPPORT / "interrupted_run.py"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = str(program.parent)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, str(program), str(pictures), str(store), str(steps), *methods]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize("chain", CHAINS)
def test_five_kills_change_nothing(photo_folder: Path, tmp_path: Path, chain: str, threads: int | None) -> None:
    methods = CHAINS[chain]
    whole, killed = tmp_path / "whole" / "r.duckdb", tmp_path / "killed" / "r.duckdb"
    assert started(photo_folder, whole, 0, methods, threads) == 0
    steps = random.Random(f"{chain} {threads}")
    kills = 0
    for _ in range(40):
        # Short enough to end within the cells that are left, somewhere in a pass or a fit.
        if started(photo_folder, killed, steps.randint(3, 25), methods, threads) != 0:
            kills += 1
        if kills == KILLS:
            break
    assert kills == KILLS, "the chain was to be killed five times"
    assert started(photo_folder, killed, 0, methods, threads) == 0
    pd.testing.assert_frame_equal(scores(killed), scores(whole), check_exact=True)
