"""Calls of ``encode`` and ``decode`` of a Python object, with what they return in the form of a method."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from methods.errors import UserError, first_line


class ObjectCalls:
    """Object with ``encode`` and ``decode``, called as a method is.

    A module of torch is copied and set to evaluation, so that what its owner does with it later changes nothing here.

    Args:
        value: the object. ``encode(x)`` returns codes (n, n_units) of x (n, d), and ``decode(codes)`` or
            ``decode(codes, x)`` the layer's output (n, d). Codes and outputs may also be NumPy arrays.

    Raises:
        UserError: if it lacks one of the two, or is a module that cannot be copied.
    """

    def __init__(self, value: Any) -> None:
        self.name = type(value).__qualname__
        missing = [name for name in ("encode", "decode") if not callable(getattr(value, name, None))]
        if missing or isinstance(value, type):
            given = f"the class {value.__name__}" if isinstance(value, type) else f"an object of the type {self.name}"
            raise UserError(
                f"{given} cannot be evaluated{f': it has no {missing[0]}()' if missing else ''}. Give the name of a "
                "method, the file of a dictionary, a method, or an object with encode(x) and decode(codes)."
            )
        self.value: Any = _copied(value) if isinstance(value, nn.Module) else value
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
        """Return the floating-point tensors of the object by name: of a module its state, else its attributes."""
        attributes: Mapping[str, Any]
        if isinstance(self.value, nn.Module):
            attributes = dict([*self.value.named_parameters(), *self.value.named_buffers()])
        else:
            attributes = getattr(self.value, "__dict__", {})
        arrays = {
            name: torch.as_tensor(value)
            for name, value in attributes.items()
            if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")
        }
        return {name: value.detach() for name, value in arrays.items() if value.is_floating_point()}

    def to(self, device: torch.device | str) -> None:
        """Move a module to a device; other objects stay, and what they are given is moved to them."""
        if isinstance(self.value, nn.Module):
            self.value.to(device)

    def _given(self, x: Tensor) -> Tensor:
        return x.to(next((tensor.device for tensor in self.tensors().values()), x.device))

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


def _copied(module: nn.Module) -> nn.Module:
    # Results of a computation, which some modules keep as attributes, have no copy of their own in torch.
    values = [value for part in module.modules() for value in vars(part).values()]
    results = {id(value): value.detach().clone() for value in values if isinstance(value, Tensor) and not value.is_leaf}
    try:
        copied = copy.deepcopy(module, results)
    except Exception as error:  # code of the module's author
        raise UserError(
            f"The module {type(module).__qualname__} cannot be copied ({first_line(error)}): save its tensors as "
            "safetensors and give the file (docs/dictionaries.md)."
        ) from error
    # overcomplete's eval() returns None.
    copied.eval()
    return copied


def _n_required(function: Any) -> int:
    """Return the number of arguments that must be given by position; 1 if the signature cannot be read."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)
