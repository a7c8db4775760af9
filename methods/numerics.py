"""Settings of the numeric libraries that decide whether the same computation gives the same bits.

There are two such settings (``docs/reproducibility.md``): MKL chooses its kernel by the memory address of its operands
unless configured otherwise, and most libraries split a sum by the number of their threads. This module sets both for
the whole project.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

#: Environment variables that libraries read once, and the values set here unless the user has set others.
#:
#: MKL_CBWR: one kernel for every alignment; the speed of large products is the same.
#: OMP_WAIT_POLICY: the threads of torch and numba take turns, so waiting threads must not occupy the cores.
ENVIRONMENT = {"MKL_CBWR": "AUTO,STRICT", "OMP_WAIT_POLICY": "passive"}

#: scikit-learn's k-means adds the partial sums of its threads in order of arrival. Two of them give the same sum in
#: either order; three or more do not.
SKLEARN_THREADS = 2

#: Codes of MKL's reproducible modes (``mkl_types.h``); the flag is added by ``,STRICT``.
_MKL_MODES = {
    1: "off",
    2: "AUTO",
    3: "COMPATIBLE",
    4: "SSE2",
    6: "SSSE3",
    7: "SSE4_1",
    8: "SSE4_2",
    9: "AVX",
    10: "AVX2",
    11: "AVX512_MIC",
    12: "AVX512",
    13: "AVX512_MIC_E1",
    14: "AVX512_E1",
}
_MKL_STRICT = 0x10000
_MKL_ALL = -1

NOT_REPRODUCIBLE = (
    "MKL's reproducible mode is off, so results may differ in the last digits from run to run: torch computed before "
    "harness or methods was imported, or MKL_CBWR has a value that MKL does not know. Import them first, or set "
    "MKL_CBWR=AUTO,STRICT in the environment."
)


def set_environment() -> None:
    """Set :data:`ENVIRONMENT` unless the user has set it; warn if torch has already computed without it."""
    chosen_by_user = "MKL_CBWR" in os.environ
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # MKL has not been used until torch is imported, and the check would import torch.
    if not chosen_by_user and "torch" in sys.modules and mkl_mode() == "off":
        warnings.warn(NOT_REPRODUCIBLE, RuntimeWarning, stacklevel=3)


def mkl_mode() -> str | None:
    """Return MKL's reproducible mode in force, e.g. ``AUTO,STRICT`` or ``off``; None if torch has no MKL.

    MKL reads MKL_CBWR at its first use. If nothing was computed before, this call is the first use.
    """
    import torch

    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        get = library.mkl_serv_cbwr_get
    except (OSError, AttributeError):
        return None
    get.argtypes, get.restype = [ctypes.c_int], ctypes.c_int
    code = get(_MKL_ALL)
    name = _MKL_MODES.get(code & ~_MKL_STRICT, f"mode {code & ~_MKL_STRICT}")
    return f"{name},STRICT" if code & _MKL_STRICT else name


def set_threads(count: int) -> None:
    """Let torch, numba and the BLAS of numpy and scipy use ``count`` CPU threads each.

    Raises:
        ValueError: if count is below 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}; it must be at least 1")
    import numba
    import scipy.linalg  # noqa: F401 - loads scipy's BLAS, whatever was imported before
    import torch

    # numba comes first: its first use starts its threads, and starting them sets the number that torch uses as well.
    numba.set_num_threads(min(count, vars(numba.config)["NUMBA_NUM_THREADS"]))
    _libraries().limit(limits=count)
    torch.set_num_threads(count)


def _libraries() -> ThreadpoolController:
    """Return the loaded BLAS and OpenMP libraries; looking for them takes some milliseconds.

    Libraries are loaded by imports, so they are looked for again once a module has been imported.
    """
    return _libraries_after(len(sys.modules), next(reversed(sys.modules)))


@functools.lru_cache(maxsize=1)
def _libraries_after(n_modules: int, last_module: str) -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextlib.contextmanager
def threads(count: int | None = None) -> Iterator[int]:
    """Let all libraries use ``count`` CPU threads (None: as many as torch uses now); restore the number afterwards."""
    import torch

    before = torch.get_num_threads()
    chosen = count or before
    set_threads(chosen)
    try:
        yield chosen
    finally:
        set_threads(before)


@contextlib.contextmanager
def sklearn_threads() -> Iterator[None]:
    """Limit OpenMP to :data:`SKLEARN_THREADS` threads while an estimator is fitted; import the estimator before."""
    import torch

    with _openmp_libraries().limit(limits=min(SKLEARN_THREADS, torch.get_num_threads())):
        yield


@functools.cache
def _openmp_libraries() -> ThreadpoolController:
    """Return the loaded OpenMP libraries, scikit-learn's own included; looking for them takes some milliseconds."""
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")


@functools.cache
def start_numba() -> None:
    """Start numba's threads without changing the number that torch uses; call it before a parallel kernel."""
    import numba
    import torch

    before = torch.get_num_threads()
    numba.set_num_threads(min(before, vars(numba.config)["NUMBA_NUM_THREADS"]))
    torch.set_num_threads(before)


def describe() -> dict[str, Any]:
    """Return the settings in force that can change the last digits of a result, as recorded with every cell.

    Keys: ``threads`` (torch), ``numba_threads``, ``blas`` (one entry per library: name, version, kernel
    and threads), ``mkl_cbwr`` (None without MKL), ``torch_kernels`` (vector instructions of torch's own kernels).
    """
    import numba
    import scipy.linalg  # noqa: F401 - loads scipy's BLAS, whatever was imported before
    import torch

    # Other packages (OpenCV) bring a BLAS of their own, which computes nothing here.
    libraries = _libraries().select(user_api="blas").info()
    ours = [blas for blas in libraries if "numpy" in blas["filepath"] or "scipy" in blas["filepath"]] or libraries
    lines = {
        f"{blas['internal_api']} {blas['version']} {blas.get('architecture', '')}, {blas['num_threads']} threads"
        for blas in ours
    }
    return {
        "threads": torch.get_num_threads(),
        "numba_threads": numba.get_num_threads(),
        "blas": sorted(lines),
        "mkl_cbwr": mkl_mode(),
        "torch_kernels": torch.backends.cpu.get_cpu_capability(),
    }
