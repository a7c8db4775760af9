"""Training steps of several configurations one after another against all at once, as batched matrices.

    python benchmarks/side_by_side.py                     # 4 configurations of 384 -> 3072 units, 2048 tokens, on a CPU
    python benchmarks/side_by_side.py --device cuda --width 768 --units 6144 --batch-size 4096 --precision bfloat16

The step is that of a ReLU autoencoder with an L1 penalty and Adam, in plain PyTorch on both sides, so that only the
stacking differs: one product of (configurations, tokens, width) with (configurations, width, units) instead of one per
configuration. On a GPU both sides are replayed as a CUDA graph, as trainings are (methods/training/graphs.py). Prints
the time of all steps on both sides and their ratio, and whether the first losses agree.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

# As the command line sets it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from _report import report
from torch import Tensor

from methods.allocator import kept_memory


class Sizes(NamedTuple):
    """Sizes of the layer and of a step."""

    width: int
    units: int
    batch_size: int
    configurations: int


class Dictionaries:
    """Autoencoders of one shape whose parameters have the configuration as their first dimension."""

    def __init__(self, sizes: Sizes, which: slice, device: str, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        atoms = torch.randn(sizes.configurations, sizes.units, sizes.width, generator=generator)
        atoms /= atoms.norm(dim=2, keepdim=True)
        self.atoms = atoms[which].to(device).requires_grad_()
        self.weight = (atoms / 4)[which].to(device).requires_grad_()
        self.bias = torch.zeros_like(self.weight[:, :, 0]).requires_grad_()
        self.l1_weight = torch.logspace(-4, -2, sizes.configurations)[which].to(device)
        self.dtype = dtype
        parameters = [self.atoms, self.weight, self.bias]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-4, fused=True, capturable=device != "cpu")

    def step(self, x: Tensor) -> Tensor:
        """Take one step on x (n, width); return the losses (configurations,)."""
        n_configurations = len(self.weight)
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
            if n_configurations == 1:
                codes = torch.relu(torch.addmm(self.bias[0], x, self.weight[0].T))[None]
                reconstruction = (codes[0] @ self.atoms[0])[None]
            else:
                rows = x.expand(n_configurations, *x.shape)
                codes = torch.relu(torch.baddbmm(self.bias[:, None], rows, self.weight.transpose(1, 2)))
                reconstruction = codes @ self.atoms
            errors = (reconstruction.float() - x).square().mean((1, 2))
            losses = errors + self.l1_weight * codes.float().sum((1, 2)) / len(x)
        losses.sum().backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=False)
        return losses.detach()


def measured(sizes: Sizes, device: str, dtype: torch.dtype, repeats: int) -> tuple[float, float, bool]:
    """Return the seconds of a step of all configurations, one by one and stacked, and whether their losses agree."""
    x = torch.randn(sizes.batch_size, sizes.width, generator=torch.Generator().manual_seed(1)).to(device)
    one_by_one = [Dictionaries(sizes, slice(i, i + 1), device, dtype) for i in range(sizes.configurations)]
    stacked = Dictionaries(sizes, slice(None), device, dtype)
    separate_losses = torch.cat([dictionaries.step(x) for dictionaries in one_by_one])
    agree = torch.allclose(separate_losses, stacked.step(x), rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    sides: list[Callable[[], object]] = [
        replayed(lambda: [dictionaries.step(x) for dictionaries in one_by_one], device),
        replayed(lambda: stacked.step(x), device),
    ]
    times: list[list[float]] = [[], []]
    # In turns, so that a machine that becomes slower is so for both.
    for _ in range(repeats):
        for side, record in zip(sides, times, strict=True):
            started = time.perf_counter()
            side()
            wait(device)
            record.append(time.perf_counter() - started)
    separate, together = (statistics.median(record) for record in times)
    return separate, together, agree


def replayed(step: Callable[[], object], device: str) -> Callable[[], object]:
    """Return the step, on a GPU as the replay of a CUDA graph."""
    if torch.device(device).type != "cuda":
        step()
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    graph.replay()
    return graph.replay


def wait(device: str) -> None:
    """Wait until the device has finished all work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="device of torch (default: cpu)")
    parser.add_argument("--width", type=int, default=384, help="features of the layer (default: 384)")
    parser.add_argument("--units", type=int, default=3072, help="units of each configuration (default: 3072)")
    parser.add_argument("--batch-size", type=int, default=2048, help="tokens per step (default: 2048)")
    parser.add_argument("--configurations", type=int, default=4, help="number of configurations (default: 4)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of products")
    parser.add_argument("--repeats", type=int, default=9, help="timed steps of each side (default: 9)")
    options = parser.parse_args()
    sizes = Sizes(options.width, options.units, options.batch_size, options.configurations)
    with kept_memory():
        separate, together, agree = measured(sizes, options.device, getattr(torch, options.precision), options.repeats)
    print(
        f"{sizes.configurations} x {sizes.width} -> {sizes.units}, {sizes.batch_size} tokens, {options.precision}: "
        f"one by one {separate * 1e3:.1f} ms, stacked {together * 1e3:.1f} ms, ratio {separate / together:.2f}"
        + ("" if agree else " (the losses differ)")
    )
    report("one by one / stacked, training steps", separate / together)


if __name__ == "__main__":
    main()
