"""Everything on a device that is not the CPU, without one: no tensor is left behind (see tests/support/elsewhere.py).

What a GPU rounds otherwise, and its own branches in the efficiency metric and in ELUDe's lanes, this cannot show.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import SUPPORT
from torch.utils import backend_registration
from variants import built_in, variants

# Half a minute: a process of its own, in which everything is imported again.
pytestmark = pytest.mark.slow

Found = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def found(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """One process for all: torch takes a device like this once and keeps it."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this version of torch takes no device that is written in Python")
    script = SUPPORT / "run_elsewhere.py"
    place = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(photo_folder), str(place)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: Found = json.loads(done.stdout.splitlines()[-1])
    return result


def test_mistakes_are_noticed(found: Found) -> None:
    assert len(found["mistakes"]) == 9
    unnoticed = [name for name, error in found["mistakes"].items() if not error.startswith(("TwoDevices", "TypeError"))]
    assert unnoticed == []


@pytest.mark.parametrize("name", built_in())
def test_methods_fit_encode_and_decode_there(found: Found, name: str) -> None:
    """With every option, to what they give on the CPU."""
    done = {one.what: found["methods"][f"{name}: {one.what}"] for one in variants(name)}
    assert {what: error for what, error in done.items() if error} == {}


def test_a_training_step_copies_nothing_to_or_from_the_cpu(found: Found) -> None:
    """Otherwise it cannot be replayed as a CUDA graph; a step of any method that does fails its test above."""
    assert int(found["steps"]["number"]) > 50
    assert found["steps"]["reads"].startswith("AssertionError: a training step read [1] numbers and sent []")
    assert found["steps"]["sends"].startswith("AssertionError: a training step read [] numbers and sent [2]")


def test_what_plugins_start_from_works_there(found: Found) -> None:
    """The example, the pages on methods and plugins, and what ``harness new`` writes."""
    assert found["plugins"] == dict.fromkeys(
        ("as_scaffolded", "coactive_split", "halves", "quarters", "thresholded_pca"), ""
    )


def test_an_evaluation_copies_no_tensor_of_a_batch_to_the_cpu(found: Found) -> None:
    """Numbers are read, one by one; the statistics of units are those of the CPU to the bit."""
    assert len(found["transfers"]) == 14
    assert {what: error for what, error in found["transfers"].items() if error} == {}


@pytest.mark.parametrize("backbone", ["tiny_vit", "tiny_cnn"])
def test_a_whole_run_stays_there(found: Found, backbone: str) -> None:
    """Tokens, probe, baseline, fits and all metrics but the efficiency ratio."""
    assert found["runs"][backbone] == ""
