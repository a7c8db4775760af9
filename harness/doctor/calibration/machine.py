"""Rates of the machine itself: matrix products in each precision, and the disk of the cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

from harness.doctor.calibration.timing import measured
from harness.doctor.rates import Rate

#: Side of the square matrices: (on a CPU, on a GPU).
SIDES = (1024, 8192)
#: Bytes of one file.
PIECE = 16 << 20
MOST_PIECES = 16
#: Rate of products in float32.
FLOAT32 = "float32 products"


def measure_products(seconds: float, device: str) -> dict[str, Rate]:
    """Measure matrix products in float32, and on a GPU in TF32 and bfloat16 as well."""
    on_gpu = device.startswith("cuda")
    rates = {FLOAT32: product_rate(torch.float32, seconds / 3, device)}
    if on_gpu or _has_fast_bfloat16():
        rates["bfloat16 products"] = product_rate(torch.bfloat16, seconds / 3, device)
    if on_gpu:
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            rates["TF32 products"] = product_rate(torch.float32, seconds / 3, device)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = allowed
    return rates


def _has_fast_bfloat16() -> bool:
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def product_rate(dtype: torch.dtype, seconds: float, device: str) -> Rate:
    """Measure square matrix products in a precision."""
    side = SIDES[device.startswith("cuda")]
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator).to(device, dtype) for _ in range(2))
    out = torch.empty_like(a)

    def multiply(n: int) -> float:
        for _ in range(n):
            torch.mm(a, b, out=out)
        return 2.0 * n * side**3

    return measured(multiply, "FLOP/s", f"{{n}} products of side {side}", seconds=seconds, device=device)


def measure_disk(seconds: float, cache: Path) -> dict[str, Rate]:
    """Measure writing files to the folder of the cache, until they are on the disk, and reading them.

    A file that was just written may be read from memory, as a run's tokens are if they fit.
    """
    data = os.urandom(1 << 20) * (PIECE >> 20)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".calibration-") as folder:
        files = [Path(folder) / str(number) for number in range(MOST_PIECES)]

        def write(n: int) -> float:
            for file in files[:n]:
                with open(file, "wb") as handle:
                    handle.write(data)
                    os.fsync(handle.fileno())
            return float(n * PIECE)

        def read(n: int) -> float:
            return float(sum(len(file.read_bytes()) for file in files[:n]))

        size = f"{{n}} files of {PIECE >> 20} MiB"
        written = measured(write, "bytes/s", size, seconds=seconds / 2, most=MOST_PIECES)
        write(MOST_PIECES)
        return {
            "disk write": written,
            "disk read": measured(read, "bytes/s", size, seconds=seconds / 2, most=MOST_PIECES),
        }
