"""Operations, memory traffic and arithmetic of a training step on a GPU, counted without one.

    python benchmarks/training_launches.py                      # 768 -> 6144 units, 4096 tokens
    python benchmarks/training_launches.py --family topk_sae --operations

Each family's step runs on tensors without values, in the dense form that a GPU computes. Counted are PyTorch's
operations that launch at least one kernel, the bytes of the tensors that they read and write, and the multiplications
and additions of matrix products. A bound on the time of a step with a CUDA graph follows from them: the larger of bytes
/ bandwidth and arithmetic / rate, plus a few microseconds per kernel. What the count cannot see: operations with
several kernels or passes (``topk``, ``sort``, clipping), what stays in the cache, and casts that only a GPU's autocast
makes. The batch's copy and normalisation are not part of the step.

Kernels of this project are operations like PyTorch's; their traffic is stated here (:data:`KERNELS`), each row that is
read or added to in every step included. ``--without-kernels`` counts what replaces them if Triton fails.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import methods
from methods.base import no_metrics, no_progress
from methods.sae import fused_pursuit
from methods.sae.method import SparseMethod
from methods.training.loop import Trainee, _Run
from methods.training.normaliser import Normaliser

#: Operations that launch nothing.
WITHOUT_KERNEL = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "_unsafe_view")
#: Operations that read as many entries of their table as they write.
GATHERING = ("index", "index_select", "gather", "embedding", "_embedding_bag", "_embedding_bag_forward_only")
#: Operations that write their first argument without reading it.
OVERWRITING = ("copy_", "fill_", "zero_")
#: Operations that touch only the chosen entries of their first argument, and how often.
CHOOSING = {"index_add_": 2, "scatter_": 1}
#: Position of the left factor of each matrix product.
PRODUCTS = {"mm": 0, "addmm": 1, "bmm": 0, "baddbmm": 1}


def _of_choosing(correlations: Tensor, gram: Tensor, k: int) -> int:
    """Return the bytes of the correlations, of a row of the Gram matrix for each later step, and of the result."""
    n, n_units = correlations.shape
    return k * n * n_units * correlations.itemsize + n * k * (8 + correlations.itemsize)


def _of_adding(totals: Tensor, units: Tensor, values: Tensor, residual: Tensor, gradient: Tensor, atoms: Tensor) -> int:
    """Return the bytes of all rows, and of an atom that is read and a total that is read and written in each step."""
    return sum(map(_bytes, (units, values, residual, gradient))) + 3 * units.numel() * atoms.shape[1] * atoms.itemsize


#: Traffic of this project's kernels, from their arguments.
KERNELS: dict[str, Callable[..., int]] = {
    "matching_pursuit::choose": _of_choosing,
    "matching_pursuit::add_gradient": _of_adding,
}


class Count(TorchDispatchMode):
    """Counter of what the operations within its context do."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.traffic: Counter[str] = Counter()
        self.arithmetic: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        kernel = KERNELS.get(function._schema.name)
        if kernel is not None:
            self.operations[function._schema.name] += 1
            self.traffic[function._schema.name] += kernel(*args, **kwargs)
            return result
        namespace, name = function._schema.name.split("::")
        inputs, outputs = _distinct((args, kwargs)), _distinct(result)
        is_view = not function._schema.is_mutable and bool(_storages(inputs) & _storages(outputs))
        if namespace == "aten" and not is_view and name not in WITHOUT_KERNEL:
            self.operations[name] += 1
            self.traffic[name] += _traffic(name, function, inputs, outputs, args)
            if name in PRODUCTS:
                left, right = args[PRODUCTS[name]], args[PRODUCTS[name] + 1]
                self.arithmetic[left.dtype] += 2 * left.numel() * right.shape[-1]
        return result


def _distinct(values: Any) -> list[Tensor]:
    return list({id(x): x for x in tree_leaves(values) if isinstance(x, Tensor)}.values())


def _storages(tensors: list[Tensor]) -> set[int]:
    return {x.untyped_storage()._cdata for x in tensors}


def _bytes(tensor: Tensor) -> int:
    # An expanded tensor has fewer entries in memory than it shows.
    seen = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return math.prod(seen) * tensor.itemsize


def _traffic(name: str, function: Any, inputs: list[Tensor], outputs: list[Tensor], args: Any) -> int:
    """Return the bytes that an operation reads and writes."""
    if name in GATHERING:
        read = inputs[1].numel() * (inputs[0].shape[-1] if "embedding" in name else 1) * inputs[0].itemsize
        return (read if "embedding" in name else _bytes(outputs[0])) + sum(map(_bytes, [*inputs[1:], *outputs]))
    if name in CHOOSING:
        source = args[3] if isinstance(args[3], Tensor) else args[2]
        return sum(map(_bytes, inputs[1:])) + CHOOSING[name] * source.numel() * inputs[0].itemsize
    written = outputs
    if function._schema.is_mutable:
        arguments = function._schema.arguments
        changed = [args[i] for i in range(len(args)) if arguments[i].alias_info and arguments[i].alias_info.is_write]
        written = _distinct(changed)
    read_too = [x for x in inputs if not (name in OVERWRITING and x is args[0])]
    return sum(map(_bytes, [*read_too, *written]))


class Rows:
    """Random tokens of a layer, as many as the archetypal SAE has points."""

    def __init__(self, n: int, width: int) -> None:
        self.n, self.rows = n, torch.randn(n, width, generator=torch.Generator().manual_seed(0))

    def width(self, field: str) -> int:
        return self.rows.shape[1]

    def batches(self, field: str, size: int) -> Any:
        return self.rows.split(size)

    def gather(self, field: str, rows: Any) -> Tensor:
        return self.rows[torch.as_tensor(rows)]


class Step(NamedTuple):
    """Counts of one step of a family."""

    family: str
    precision: str
    count: Count

    @property
    def operations(self) -> int:
        return self.count.operations.total()

    @property
    def gigabytes(self) -> float:
        return self.count.traffic.total() / 1e9

    def tera(self, dtype: torch.dtype) -> float:
        """Return the arithmetic in 10^12 operations."""
        return self.count.arithmetic[dtype] / 1e12


def counted(family: str, precision: str, width: int, units: int, batch: int) -> Step:
    """Count the second step of a training: the first one creates Adam's averages."""
    method: Any = methods.create(family, expansion_factor=units / width, precision=precision, epochs=100)
    tokens: Any = Rows(max(units, 16), width)
    trainee: Trainee = method.trainee(units, tokens, Normaliser(tokens, "output"), 0)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for module in trainee.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    fake = mode.from_tensor(parameter.data)
                    module._parameters[name] = nn.Parameter(fake, requires_grad=parameter.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = mode.from_tensor(buffer)
        batches: Any = SimpleNamespace(device=torch.device("cpu"), per_epoch=10)
        run = _Run(trainee, batches, method.config, family, no_progress, None, no_metrics, print)
        run.reads = False
        # The encoder's input, and the target if it is another field.
        fields = 1 if method.spec.reads == "output" else 2
        rows = [torch.empty(batch, width) for _ in range(fields)]
        run._update(*rows)
        with Count() as count:
            run._update(*rows)
    return Step(family, precision, count)


def as_on_a_gpu(with_kernels: bool = True) -> None:
    """Switch the CPU's sparse forms off, and the kernels for GPUs on."""
    for name, module in list(sys.modules.items()):
        if name.startswith("methods.") and hasattr(module, "sparse_here"):
            module.sparse_here = lambda x: False  # type: ignore[attr-defined]
    # Only their shapes are computed on tensors without values.
    fused_pursuit.fused_here = lambda row: with_kernels


def trained_families() -> list[str]:
    """Return the names of all methods that the training loop trains."""
    return [name for name in methods.names() if issubclass(methods.METHODS.get(name), SparseMethod)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768, help="features of the layer (default: 768)")
    parser.add_argument("--units", type=int, default=6144, help="units (default: 6144)")
    parser.add_argument("--batch-size", type=int, default=4096, help="tokens per step (default: 4096)")
    parser.add_argument("--family", action="append", help="family to count (default: all that are trained)")
    parser.add_argument("--operations", action="store_true", help="list the operations of each step, by traffic")
    parser.add_argument("--without-kernels", action="store_true", help="count PyTorch's operations in place of kernels")
    options = parser.parse_args()
    families = options.family or trained_families()
    as_on_a_gpu(not options.without_kernels)
    print(f"{options.width} -> {options.units} units, {options.batch_size} tokens per step")
    print(f"{'':24}{'precision':>10}{'operations':>12}{'GB':>8}{'TFLOP float32':>15}{'bfloat16':>10}")
    for family in families:
        for precision in ("bfloat16", "float32"):
            step = counted(family, precision, options.width, options.units, options.batch_size)
            products = step.tera(torch.float32), step.tera(torch.bfloat16)
            print(
                f"{family:24}{precision:>10}{step.operations:12}{step.gigabytes:8.2f}{products[0]:15.3f}"
                f"{products[1]:10.3f}",
                flush=True,
            )
            if options.operations:
                for name, traffic in step.count.traffic.most_common():
                    print(f"    {name:32}{step.count.operations[name]:6}{traffic / 1e9:10.3f}")


if __name__ == "__main__":
    main()
