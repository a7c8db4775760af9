"""Rates of code that has changed since it ran on a GPU, from counts of its work and measured rates of the parts.

They are arithmetic, and a calibration on a GPU replaces them. ``docs/gpu.md`` has the measured times of the code before
the changes, and how the counts are made. The counts leave out further passes of single operations (selection of the
largest, sorting, clipping).
"""

from __future__ import annotations

from typing import NamedTuple

#: Products per second, a multiply-add counted as two FLOPs. float32: measured on an H200. bfloat16: 60 % of what one
#: large product reached there, since those of a training step are smaller.
FLOAT32, BFLOAT16 = 51e12, 400e12
#: Bytes per second that operations on large matrices read and write: 73 % of an H200's peak, not measured. An H100 has
#: 70 % of the bandwidth.
TRAFFIC = 3.5e12
#: Seconds between two kernels of a CUDA graph, assumed.
KERNEL = 3e-6


class TrainingStep(NamedTuple):
    """Work of one training step, 768 -> 6144 units and 4096 tokens (``benchmarks/training_launches.py``)."""

    kernels: int
    gigabytes: float
    """read and written, apart from products"""
    bfloat16: float
    """TFLOP of products in bfloat16"""
    float32: float = 0.0
    estimated: float = 0.2319
    """TFLOP by :func:`harness.doctor.steps.fit_flops`, which the rate refers to"""

    @property
    def seconds(self) -> float:
        """Time of a step that is replayed as a CUDA graph, if nothing overlaps."""
        products = 1e12 * (self.bfloat16 / BFLOAT16 + self.float32 / FLOAT32)
        return products + 1e9 * self.gigabytes / TRAFFIC + self.kernels * KERNEL

    @property
    def rate(self) -> float:
        """Estimated FLOPs per second."""
        return 1e12 * self.estimated / self.seconds


#: Method -> its step, in the default precision.
TRAINING_STEPS = {
    "topk_sae": TrainingStep(75, 1.99, 0.193),
    "batchtopk_sae": TrainingStep(82, 2.06, 0.193),
    "matryoshka_sae": TrainingStep(168, 4.29, 0.193),
    "archetypal_sae": TrainingStep(101, 5.41, 0.309, estimated=0.4059),
    "matching_pursuit_sae": TrainingStep(61, 4.1, 0.0, 0.097, estimated=0.5339),
    "vanilla_sae": TrainingStep(76, 1.83, 0.193),
    "jumprelu_sae": TrainingStep(108, 4.50, 0.193),
    "transcoder": TrainingStep(104, 2.14, 0.193),
    "frozen_decoder_sae": TrainingStep(71, 1.69, 0.155),
}

#: Seconds of ELUDe's clustering of 400,000 instances of 3072 inputs, in TF32, while it has the GPU.
CLUSTERING_PARTS = {
    # 3.1 s measured on an H200, less the products with half of the sample: 12,800 columns at 327 TFLOP/s.
    "core distances": 3.0,
    # 1.6 s in TF32, of which 1.4 are products; these take half the time in bfloat16.
    "pairs of components": 0.9,
    # What was left of the 7.1 s, and the edges of the tree on another machine's CPU.
    "rows, first edges, copies": 0.4,
    "edges of the tree": 0.1,
}
#: FLOPs per second of ``3 n^2 d``. The second lane builds its tree on the CPU meanwhile.
CLUSTERING = 3 * 400_000.0**2 * 3072 / sum(CLUSTERING_PARTS.values())
