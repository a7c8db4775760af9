"""Calls of ``encode`` and ``decode`` of a Python object, with what they return in the form of a method."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from methods.errors import UserError, first_line


class ObjectCalls:
    """Object with ``encode`` and ``decode``, called as a method is.

    The object is copied and its modules of torch are set to evaluation, so that neither side changes the other. Only an
    object that is no module and cannot be copied is called itself.

    Args:
        value: the object. ``encode(x)`` returns codes (n, n_units) of x (n, d), and ``decode(codes)`` or
            ``decode(codes, x)`` the layer's output (n, d). Codes and outputs may also be NumPy arrays.

    Raises:
        UserError: if it lacks one of the two, or is a module that cannot be copied.
    """

    def __init__(self, value: Any) -> None:
        require_calls(value)
        # What torch.compile made of a module computes the same. The class takes seconds to import.
        value = getattr(value, "_orig_mod", value) if type(value).__name__ == "OptimizedModule" else value
        self.name = type(value).__qualname__
        self.value: Any = _copied(value)
        self.decode_reads_input = _n_required(self.value.decode) > 1
        # overcomplete returns (pre_codes, codes).
        self._returns_pre_codes = type(value).__module__.partition(".")[0] == "overcomplete"

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes (n, n_units) of x (n, d), with dtype and device of x."""
        codes = self.value.encode(self._given(x))
        if self._returns_pre_codes and isinstance(codes, tuple) and len(codes) == 2:
            codes = codes[1]
        return self._returned(codes, x, "encode")

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        """Return the output (n, d) of codes (n, n_units), with dtype and device of the codes."""
        arguments = [self._given(codes)]
        if self.decode_reads_input and x is not None:
            arguments.append(self._given(x))
        return self._returned(self.value.decode(*arguments), codes, "decode")

    def tensors(self) -> dict[str, Tensor]:
        """Return the floating-point tensors of the object by name, each storage once.

        Of a module, its parameters and buffers; of another object, those of its attributes, of modules, lists and
        mappings among them, and NumPy arrays.
        """
        storages: dict[int, str] = {}
        tensors = {}
        for name, value in _tensors_in(self.value, "", set()):
            storage = value.untyped_storage().data_ptr()
            if value.is_floating_point() and (not storage or storages.setdefault(storage, name) == name):
                tensors[name] = value.detach()
        return tensors

    def to(self, device: torch.device | str) -> None:
        """Move a module to a device; other objects stay, and what they are given is moved to them."""
        if isinstance(self.value, nn.Module):
            self.value.to(device)

    def _given(self, x: Tensor) -> Tensor:
        like = next(iter(self.tensors().values()), x)
        return x.to(like) if isinstance(self.value, nn.Module) else x.to(like.device)

    def _returned(self, result: Any, like: Tensor, call: str) -> Tensor:
        if isinstance(result, np.ndarray):
            result = torch.from_numpy(result)
        if not isinstance(result, Tensor):
            raise UserError(
                f"{self.name}.{call} returns a {type(result).__name__}; it must return one tensor of shape "
                f"{'(n, n_units)' if call == 'encode' else '(n, d)'}: wrap the object in a class whose {call} does."
            )
        dense = result.detach()
        dense = dense if dense.layout == torch.strided else dense.to_dense()
        if dense.ndim != 2 or len(dense) != len(like) or not dense.shape[1]:
            raise UserError(
                f"{self.name}.{call} returns the shape {tuple(dense.shape)} for {tuple(like.shape)}; it must be "
                f"{'(n, n_units)' if call == 'encode' else '(n, d)'} for n rows."
            )
        return dense.to(device=like.device, dtype=like.dtype)


def require_calls(value: Any) -> None:
    """Check that a value is an object with ``encode`` and ``decode``.

    Raises:
        UserError: if it is not.
    """
    missing = [name for name in ("encode", "decode") if not callable(getattr(value, name, None))]
    if missing or isinstance(value, type):
        name = getattr(value if isinstance(value, type) else type(value), "__qualname__", "?")
        given = f"the class {name}" if isinstance(value, type) else f"an object of the type {name}"
        raise UserError(
            f"{given} cannot be evaluated{f': it has no {missing[0]}()' if missing else ''}. Give the name of a "
            "method, the file of a dictionary, a method, or an object with encode(x) and decode(codes)."
        )


def _copied(value: Any) -> Any:
    modules = [module for part in _modules_in(value) for module in part.modules()]
    # Results of a computation, which some modules keep as attributes, have no copy of their own in torch.
    attributes = [each for module in modules for each in vars(module).values()]
    results = {id(each): each.detach().clone() for each in attributes if isinstance(each, Tensor) and not each.is_leaf}
    try:
        copied = copy.deepcopy(value, results)
    except Exception as error:  # code of the object's author
        if not modules:
            return value
        raise UserError(
            f"The {type(value).__qualname__} cannot be copied ({first_line(error)}): save its tensors as safetensors "
            "and give the file (docs/dictionaries.md)."
        ) from error
    for module in _modules_in(copied):
        # overcomplete's eval() returns None.
        module.eval()
    return copied


def _modules_in(value: Any) -> list[nn.Module]:
    """Return the value itself if it is a module, else the modules among its attributes."""
    if isinstance(value, nn.Module):
        return [value]
    return [each for each in getattr(value, "__dict__", {}).values() if isinstance(each, nn.Module)]


def _tensors_in(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if id(value) in seen:
        return
    seen.add(id(value))
    parts: Mapping[Any, Any]
    if isinstance(value, Tensor):
        if value.layout == torch.strided and value.device.type != "meta":
            yield name, value
        return
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            yield name, torch.from_numpy(np.ascontiguousarray(value))
        return
    if isinstance(value, nn.Module):
        parts = {**dict(value.named_parameters()), **dict(value.named_buffers())}
    elif isinstance(value, Mapping):
        parts = value
    elif isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    else:
        parts = getattr(value, "__dict__", {}) if not name else {}
    for key, part in parts.items():
        yield from _tensors_in(part, f"{name}.{key}" if name else str(key), seen)


def _n_required(function: Any) -> int:
    """Return the number of arguments that must be given by position; 1 if the signature cannot be read."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)
