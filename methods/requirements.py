"""Checks of what a method is given: probing tokens and layer before ``fit``, tensors before ``encode`` and ``decode``.

:class:`methods.base.Method` applies them to every method, those of plugins included. Without them, NaN among the tokens
gives rows that do not exist or sub-units of nothing, and integers as input truncate the fitted weights.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from methods.allocator import kept_memory
from methods.errors import ArgumentError
from methods.interface import OFFERS
from methods.memory import require_memory

if TYPE_CHECKING:
    from methods.base import LinearSite, MethodSpec, Reads, Tokens

#: Number of entries that are checked at once: 64 MiB of float32.
_ENTRIES = 1 << 24


def require_usable(tokens: Tokens | None, site: LinearSite, spec: MethodSpec) -> None:
    """Check that a method can be fitted on these tokens of this layer.

    The tokens are read once, unless they have a true attribute ``finite``: then they were checked when they were made.

    Args:
        tokens: the probing tokens; None passes, for methods that read no tokens, such as the random split.
        spec: the method's properties. The width of the layer's input matters only to methods that read it.

    Raises:
        ArgumentError: if there are no tokens, if they are of another width than the layer, if NaN or infinity
            occurs in the tokens or in the layer's parameters, or if something is not offered that the spec declares.
    """
    name = spec.name
    # Sites that somebody else made may lack the kind; until there were output sites, all were linear.
    is_linear = getattr(site, "kind", "linear") == "linear"
    if not is_linear and (spec.reads == "input" or spec.needs_weights):
        raise ArgumentError(
            f"{name} reads the input or the weights of a linear layer, and this site is the output of another module; "
            "choose a linear layer."
        )
    _require_offers(tokens, site, spec)
    for parameter, values in (("weight", site.weight), ("bias", site.bias)) if is_linear else ():
        if not is_finite(values):
            raise ArgumentError(
                f"{name}: the layer's {parameter} contains NaN or infinity; check the backbone's weights."
            )
    if tokens is None:
        return
    if tokens.n < 1:
        raise ArgumentError(f"{name}: there are no probing tokens; sample at least one token per image.")
    widths: tuple[tuple[Reads, int], ...] = (("input", site.d_in), ("output", site.d_out))
    for field, width in widths if is_linear else widths[1:]:
        if tokens.width(field) != width and field in ("output", spec.reads):
            raise ArgumentError(
                f"{name}: the tokens have {tokens.width(field)} features of the layer's {field}, and the layer has "
                f"{width}; give tokens of this layer."
            )
        if not getattr(tokens, "finite", False):
            _require_finite(tokens, field, name)


def _require_offers(tokens: Tokens | None, site: LinearSite, spec: MethodSpec) -> None:
    """Raise ArgumentError if tokens or site lack what the spec declares that ``fit`` reads."""
    offered = {*getattr(tokens, "offers", ()), *getattr(site, "offers", ())}
    for flag in OFFERS:
        if getattr(spec, flag) and flag not in offered:
            raise ArgumentError(
                f"{spec.name} declares {flag}, and what it is fitted on does not offer this: fit it in a run of the "
                "harness (harness run, harness.evaluate), which has the images and the network."
            )


def _require_finite(tokens: Tokens, field: Reads, name: str) -> None:
    """Raise ArgumentError if a token contains NaN or infinity; the message gives its row."""
    at_once = max(1, _ENTRIES // max(1, tokens.width(field)))
    for first in range(0, tokens.n, at_once):
        batch = tokens.gather(field, np.arange(first, min(first + at_once, tokens.n)))
        if not is_finite(batch):
            row = first + int((~torch.isfinite(batch)).any(1).nonzero()[0])
            raise ArgumentError(
                f"{name}: the layer's {field} contains NaN or infinity in at least one probing token (the first is "
                f"row {row} of {tokens.n}, counted from 0): check the backbone's weights and preprocessing."
            )


def is_finite(values: Tensor) -> bool:
    """Return True if a tensor contains neither NaN nor infinity, without a copy of it."""
    if not values.numel() or not values.is_floating_point():
        return True
    # One pass without a mask: both extremes are NaN if any entry is.
    low, high = torch.aminmax(values.detach())
    return math.isfinite(low) and math.isfinite(high)


def require_matrix(x: Any, width: int | None, call: str, what: str) -> None:
    """Check the argument of ``encode`` or ``decode``: a matrix of floating-point numbers, one row per token.

    Values are not checked, since that would wait for a GPU: the row of a token with NaN is NaN.

    Args:
        width: the number of columns; None: any.
        call: name of the call and shape of the argument, for the message.
        what: meaning of the columns.

    Raises:
        ArgumentError: if ``x`` is something else.
    """
    if not isinstance(x, Tensor):
        raise ArgumentError(f"{call} needs a torch.Tensor, not {type(x).__name__}; use torch.as_tensor.")
    if not x.is_floating_point():
        # `weights.to(x)` would truncate the weights to whole numbers.
        raise ArgumentError(f"{call} needs floating-point numbers, not {x.dtype}; use .float().")
    if x.ndim != 2 or (width is not None and x.shape[1] != width):
        columns = what if width is None else f"{width} {what}"
        raise ArgumentError(f"{call} was given the shape {tuple(x.shape)}; it must be (n, {columns}).")


def checked_fit(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fit`` with :func:`require_memory` and :func:`require_usable` before it, in :func:`kept_memory`."""

    @functools.wraps(fit)
    def checked(self: Any, tokens: Tokens, site: LinearSite, *args: Any, **kwargs: Any) -> Any:
        require_memory(self, site, kwargs.get("device", "cpu"))
        require_usable(tokens, site, self.spec)
        with kept_memory():
            return fit(self, tokens, site, *args, **kwargs)

    return checked


def checked_encode(encode: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return ``encode`` with :func:`require_matrix` before it."""

    @functools.wraps(encode)
    def checked(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        require_matrix(x, self.input_width, f"{self.spec.name}.encode", f"features of the layer's {self.spec.reads}")
        return encode(self, x, *args, **kwargs)

    return checked


#: Attribute of a checked ``decode``: the :class:`DecodeInput` of the method's own signature.
INPUT = "decode_input"


class DecodeInput(NamedTuple):
    """Parameter of ``decode`` that receives what ``encode`` has read."""

    keyword: str | None
    """its name if it is passed by keyword; None: by position"""
    is_known: bool
    """True if it is named ``x`` or required; another optional parameter may be something else, such as a scale"""
    required: bool


def decode_input(decode: Callable[..., Tensor]) -> DecodeInput | None:
    """Return the parameter of a function ``decode(self, codes, x)`` that receives x; None if it takes codes alone."""
    try:
        parameters = list(inspect.signature(decode).parameters.values())
    except (TypeError, ValueError):  # compiled code may have no signature
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) > 2:
        third = positional[2]
        required = third.default is third.empty
        return DecodeInput(None, required or third.name == "x", required)
    for parameter in parameters:
        if parameter.kind == parameter.KEYWORD_ONLY and parameter.name == "x":
            return DecodeInput("x", True, parameter.default is parameter.empty)
    return DecodeInput(None, False, False) if any(p.kind == p.VAR_POSITIONAL for p in parameters) else None


def checked_decode(decode: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return ``decode(self, codes, x=None)`` with :func:`require_matrix` before it.

    ``x`` is passed on only by a method with ``decode_reads_input``, if the function has a parameter for it
    (:func:`decode_input`). Otherwise a decoder could return its target, and nothing would show that it reads it.
    """
    parameter = decode_input(decode)

    @functools.wraps(decode)
    def checked(self: Any, codes: Tensor, x: Tensor | None = None) -> Tensor:
        name = self.spec.name
        require_matrix(codes, self.code_width, f"{name}.decode", "units")
        if parameter is None:
            return decode(self, codes)
        reads_input = self.decode_reads_input
        if parameter.required and not reads_input:
            raise ArgumentError(
                f"{name}.decode needs what encode has read as its second argument, and {name} does not say so: set "
                "decode_reads_input = True, or let decode take the codes alone."
            )
        if not reads_input:
            return decode(self, codes)
        if x is None:
            # A call of super().decode(codes) may leave to its caller what depends on x.
            if type(self).decode is checked or parameter.required:
                raise ArgumentError(
                    f"{name}.decode needs what encode has read as its second argument: decode(codes, x)."
                )
            return decode(self, codes)
        require_matrix(x, self.input_width, f"{name}.decode (argument x)", f"features of the layer's {self.spec.reads}")
        if len(x) != len(codes):
            # One row would be broadcast to all codes.
            raise ArgumentError(
                f"{name}.decode was given {len(codes)} rows of codes and {len(x)} of x; give the rows that encode has "
                "read for these codes."
            )
        return decode(self, codes, x) if parameter.keyword is None else decode(self, codes, **{parameter.keyword: x})

    setattr(checked, INPUT, parameter)
    return checked
