"""A device that is not there: tensors that say they are on ``elsewhere:0``, and are computed by the processor.

It is what tests of code for a GPU use where there is none. Every operation sees to what a GPU would: tensors of two
devices do not meet, a generator belongs to the device it draws on, and NumPy takes nothing from elsewhere. What it
cannot show is what a GPU rounds otherwise, and how fast it is.

torch takes one such device a process and never forgets it, so this module is imported in a process of its own only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "elsewhere"


class _Backend(backend_registration._DummyBackendModule):
    """Module that torch expects as ``torch.elsewhere``."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = None) -> None: ...


backend_registration._setup_privateuseone_for_python_backend(NAME, _Backend())
THERE = torch.device(NAME, 0)
# Autocast lets everything through as it is: what it does to numbers is tested on the CPU.
_AUTOCAST = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
_AUTOCAST.fallback(torch.library.fallthrough_kernel)

# Operations that take a tensor from one device to another.
CROSSING = {"aten::_to_copy", "aten::copy_"}
# Operations in which a tensor elsewhere may be indexed by tensors on the CPU: they come second.
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


#: Numbers of elements of the tensors that were copied from elsewhere to the CPU, in order; numbers read count as 1.
COPIED: list[int] = []
#: The same of tensors that were copied from the CPU to elsewhere.
SENT: list[int] = []


class TwoDevices(RuntimeError):
    """Tensors of two devices have met."""


class Elsewhere(Tensor):
    """A tensor on ``elsewhere:0``; ``held`` is the one on the CPU that has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=THERE,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert a tensor on {THERE} to NumPy")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Elsewhere({self.held!r})"


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do the operation on the CPU, if a GPU would have done it."""
    name, leaves = func._schema.name, [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    there = any(isinstance(x, Elsewhere) for x in leaves)
    if there and name not in CROSSING:
        _check(func, args, kwargs, leaves)
    asked = kwargs.get("device")
    on = there if asked is None else torch.device(asked).type == NAME
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type != (NAME if on else "cpu"):
        raise TwoDevices(f"{name}: a generator on the {generator.device.type} cannot draw there")
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    source = args[1] if name == "aten::copy_" else args[0] if name in CROSSING else None
    if isinstance(source, Tensor) and not isinstance(source, Elsewhere) and (there or on):
        SENT.append(source.numel())
    own_args, own_kwargs = tree_map(lambda x: x.held if isinstance(x, Elsewhere) else x, (args, kwargs))
    result = func(*own_args, **own_kwargs)
    if name == "aten::copy_":
        if isinstance(args[1], Elsewhere) and not isinstance(args[0], Elsewhere):
            COPIED.append(args[1].numel())
        return args[0]
    if name == "aten::_local_scalar_dense" or (name in CROSSING and there and not on):
        COPIED.append(result.numel() if isinstance(result, Tensor) else 1)
    if name == "aten::_local_scalar_dense" or not on:
        return result
    # What was changed in place is still the tensor it was.
    known = {id(x.held): x for x in leaves if isinstance(x, Elsewhere)}

    def back(x: Any) -> Any:
        return known[id(x)] if id(x) in known else Elsewhere(x) if isinstance(x, Tensor) else x

    return tree_map(back, result)


def _check(func: Any, args: Any, kwargs: dict[str, Any], leaves: list[Tensor]) -> None:
    strict = leaves
    if func._schema.name in INDEXING and isinstance(args[0], Elsewhere):
        strict = [x for x in tree_leaves((args[0], args[2:], kwargs)) if isinstance(x, Tensor)]
    # A number may come from the CPU, as long as it is not what is written to.
    strangers = [x for x in strict if not isinstance(x, Elsewhere) and x.dim()]
    written = func._schema.is_mutable and isinstance(args[0], Tensor) and not isinstance(args[0], Elsewhere)
    if strangers or written:
        places = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in leaves)
        raise TwoDevices(f"{func._schema.name}: tensors of two devices meet: {places}")


class _Everywhere(TorchDispatchMode):
    """Sees operations without a tensor elsewhere too: those that make one, and those that take one there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Within it ``elsewhere:0`` can be used as a device, also in threads that start; inference mode is ``no_grad``."""
    inference = torch.inference_mode
    start_of_thread = threading.Thread.run

    def run_there(thread: threading.Thread) -> None:
        with _Everywhere():
            start_of_thread(thread)

    threading.Thread.run = run_there  # type: ignore[method-assign]
    torch.inference_mode = torch.no_grad  # type: ignore[assignment, misc]
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    lift = torch._C._only_lift_cpu_tensors()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with torch.autograd.set_multithreading_enabled(False), _Everywhere():
            yield THERE
    finally:
        threading.Thread.run = start_of_thread  # type: ignore[method-assign]
        torch.inference_mode = inference  # type: ignore[misc]
        torch._C._set_only_lift_cpu_tensors(lift)
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
