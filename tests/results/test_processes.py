"""Processes of this host: who is alive."""

from __future__ import annotations

import os
import subprocess
import sys

from results.processes import host, is_alive


def test_a_process_that_has_ended_is_not_alive() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not is_alive(ended.pid)
    assert is_alive(os.getpid()) and is_alive(1)
    assert is_alive(10**30)  # no process, and nothing is removed because of it


def test_the_name_of_the_host_can_be_part_of_a_file_name() -> None:
    assert host().isascii() and host().isalnum()
