"""Settings of the numeric libraries: one number of threads for all, MKL's reproducible mode before its first use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from paths import ROOT
from sklearn.cluster import KMeans, MiniBatchKMeans

from harness import provenance
from methods import numerics

pytestmark = pytest.mark.run

#: What a fresh process must not inherit from `make test`.
SETTINGS = ("MKL_CBWR", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def fresh(program: str, *flags: str, **environment: str) -> str:
    """Return the output of a program in a new process, with only the given settings."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    # The environment of `make setup` sets MKL_CBWR when Python starts; MKL reads it later.
    unset = "import os; os.environ.pop('MKL_CBWR', None)\n" if "MKL_CBWR" not in environment else ""
    command = [sys.executable, *flags, "-c", unset + textwrap.dedent(program)]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def torch_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    numerics.set_threads(before)


MODE = "import torch; from methods.numerics import mkl_mode; print(mkl_mode())"
has_mkl = pytest.mark.skipif(numerics.mkl_mode() is None, reason="this torch has no MKL")


@has_mkl
@pytest.mark.parametrize(
    "first",
    [
        "import harness",
        *(pytest.param(f"import {name}", marks=pytest.mark.slow) for name in ("methods", "judges", "harness.cli")),
    ],
)
def test_mkl_is_reproducible_whichever_package_is_imported_first(first: str) -> None:
    assert fresh(f"{first}; {MODE}") == "AUTO,STRICT"


def test_the_environment_of_make_setup_sets_the_same_value_for_scripts_without_the_packages() -> None:
    (setting,) = re.findall(r"^MKL_SETTING := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    program = f"{setting}\nprint(os.environ['MKL_CBWR'])"
    assert fresh(program) == numerics.ENVIRONMENT["MKL_CBWR"]
    assert fresh(program, MKL_CBWR="AVX2") == "AVX2"


@has_mkl
def test_importing_torch_first_is_early_enough() -> None:
    assert fresh(f"import torch; import harness; {MODE}", "-W", "error") == "AUTO,STRICT"


@has_mkl
def test_a_value_that_the_user_set_is_kept() -> None:
    assert fresh(f"import harness; {MODE}", MKL_CBWR="COMPATIBLE") == "COMPATIBLE"  # a mode of every processor
    assert fresh("import os, harness; print(os.environ['OMP_WAIT_POLICY'])", OMP_WAIT_POLICY="active") == "active"


@has_mkl
def test_importing_after_torch_has_computed_says_so() -> None:
    program = f"""
        import warnings, torch
        torch.randn(50, 50) @ torch.randn(50, 50)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import harness
        print(*[warning.message for warning in caught])
        {MODE}
    """
    said, mode = fresh(program).splitlines()
    assert "torch computed before harness or methods was imported" in said and "MKL_CBWR=AUTO,STRICT" in said
    assert mode == "off"


@has_mkl
def test_the_setting_is_what_makes_results_independent_of_memory_addresses() -> None:
    """MKL's kernels for SSE 4.2 depend on the alignment on every processor; without the setting they differ."""
    program = """
        import methods, torch
        torch.set_num_threads(1)
        left, right = torch.randn(1, 24), torch.randn(8, 24)
        def moved(x, offset):
            return torch.empty(x.numel() + offset)[offset:].view(x.shape).copy_(x)
        print(all(torch.equal(moved(left, k) @ moved(right, k).T, left @ right.T) for k in range(16)))
    """
    if fresh(program, MKL_CBWR="", MKL_ENABLE_INSTRUCTIONS="SSE4_2") == "True":
        pytest.skip("MKL's kernels do not depend on the alignment here")
    assert fresh(program, MKL_ENABLE_INSTRUCTIONS="SSE4_2") == "True"


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
def test_numba_does_not_change_the_threads_of_torch(threads: str) -> None:
    """Without `start_numba` the first parallel kernel sets as many threads as there are cores, or NUMBA_NUM_THREADS."""
    program = """
        import torch, numpy as np
        before = torch.get_num_threads()
        from methods.training import kernels
        kernels.cuts(np.ones((500, 64), np.float32), 3, np.zeros(500, np.float32))
        print(before, torch.get_num_threads())
    """
    assert fresh(program, OMP_NUM_THREADS=threads, NUMBA_NUM_THREADS="3") == f"{threads} {threads}"


def test_all_libraries_take_the_number_that_torch_has(torch_threads: int) -> None:
    for count in (1, 2, torch_threads):
        with numerics.threads(count):
            found = numerics.describe()
            assert found["threads"] == torch.get_num_threads() == count
            assert found["numba_threads"] <= count
            assert found["blas"] and all(entry.endswith(f", {count} threads") for entry in found["blas"])
        assert torch.get_num_threads() == torch_threads


def test_whatever_the_block_changes_is_restored(torch_threads: int) -> None:
    with pytest.raises(ZeroDivisionError), numerics.threads():
        torch.set_num_threads(torch_threads + 1)
        raise ZeroDivisionError
    assert torch.get_num_threads() == torch_threads
    assert numerics.describe()["numba_threads"] <= torch_threads


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        numerics.set_threads(0)


@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans])
def test_k_means_is_the_same_each_time_with_many_threads(torch_threads: int, estimator: type[KMeans]) -> None:
    """Partial sums of four threads arrive in any order; two of four fits differed in the last digits."""
    points = np.random.default_rng(0).standard_normal((20000, 30)).astype(np.float32)
    numerics.set_threads(4)
    centres = []
    for _ in range(12):
        with numerics.sklearn_threads():
            centres.append(estimator(8, n_init=1, random_state=0, max_iter=10).fit(points).cluster_centers_)
    assert all(np.array_equal(one, centres[0]) for one in centres)


def test_the_environment_of_a_cell_names_what_can_change_its_digits() -> None:
    found = provenance.environment()
    assert set(found) == {"processor", "threads", "numba_threads", "blas", "mkl_cbwr", "torch_kernels"}
    assert found["processor"] and found["threads"] == torch.get_num_threads()
