"""A CUDA graph for the CPU: records the operations of a step with their very tensors, and does them again.

As in a CUDA graph, all values of Python are frozen, nothing is computed by the recording, and what would have to wait
for the device is refused. A CPU cannot show which tensors a GPU's step would leave on the host
(tests/methods/test_elsewhere.py does), nor how CUDA itself behaves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Operations that wait for a GPU, because their result, or its size, is needed on the host. Some do so within their own
#: code, where no mode sees it: bincount reads the largest value, an index by a mask the number of its entries.
WAITING = (
    "_local_scalar_dense", "_unique", "_unique2", "bincount", "equal", "histogram", "is_nonzero", "linalg_cholesky",
    "linalg_inv", "linalg_solve", "masked_select", "multinomial", "nonzero", "repeat_interleave", "unique_consecutive",
    "unique_dim",
)  # fmt: skip
#: Operations that bring numbers of Python to the device: those of the recording would stay.
FROM_HOST = ("lift_fresh", "lift_fresh_copy")
BY_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")


class Refused(RuntimeError):
    """An operation that cannot be part of a CUDA graph."""


def check(function: Any, args: Any) -> None:
    name = function._schema.name.removeprefix("aten::")
    if name in WAITING:
        raise Refused(f"{name} waits for the device")
    if name in FROM_HOST:
        raise Refused(f"{name} copies numbers from the host")
    if name in BY_INDEX and any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]):
        raise Refused(f"{name} by a mask waits for the device")


def storage(tensor: Tensor) -> int:
    identity: int = tensor.untyped_storage()._cdata
    return identity


def tensors_of(values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


class Strict(TorchDispatchMode):
    """Refuses what a CUDA graph cannot contain, and computes the rest."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        check(function, args)
        return function(*args, **(kwargs or {}))


class Recorded(TorchDispatchMode):
    """The operations of one step."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Callable[[], None]] = []
        self.made: dict[int, Tensor] = {}
        """one tensor of each storage that the step has made"""
        self.changed: dict[int, tuple[Tensor, Any]] = {}
        """tensors from before the step that it has changed, with a copy of their storage"""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        check(function, args)
        inputs = tensors_of((args, kwargs))
        if function._schema.is_mutable:
            for tensor in inputs:
                if storage(tensor) not in self.made and storage(tensor) not in self.changed:
                    self.changed[storage(tensor)] = tensor, tensor.untyped_storage().clone()
            self.operations.append(lambda: function(*args, **kwargs))
            return function(*args, **kwargs)
        result = function(*args, **kwargs)
        outputs = tensors_of(result)
        if {storage(x) for x in inputs} & {storage(x) for x in outputs}:
            return result  # views follow what they look at

        def again() -> None:
            for output, value in zip(outputs, tensors_of(function(*args, **kwargs)), strict=True):
                output.copy_(value)

        self.made.update({storage(x): x for x in outputs})
        self.operations.append(again)
        return result

    def undo(self) -> None:
        """Leave everything as if nothing had been computed; what the step has made has no values yet."""
        with torch.no_grad():
            for tensor, before in self.changed.values():
                tensor.untyped_storage().copy_(before)
            for tensor in self.made.values():
                tensor.fill_(float("nan") if tensor.is_floating_point() else 1 if tensor.dtype == torch.bool else 77)


class Recorder:
    """Backend of :class:`methods.training.graphs.Steps`; counts what it is asked for."""

    def __init__(self) -> None:
        self.recordings = self.replays = self.freed = 0
        self.operations: list[Callable[[], None]] = []

    def apart(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def strict(self) -> Iterator[None]:
        with Strict():
            yield

    def record(self, step: Callable[[], None]) -> Recorder:
        recorded = Recorded()
        try:
            with recorded:
                step()
        finally:
            recorded.undo()
        self.operations = recorded.operations
        self.recordings += 1
        return self

    def replay(self) -> None:
        self.replays += 1
        with torch.no_grad():
            for operation in self.operations:
                operation()

    def free(self) -> None:
        self.freed += 1
        self.operations = []
