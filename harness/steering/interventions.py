"""Intervention on the units of a layer: some activations are scaled at some tokens, and the rest is unchanged.

The layer's output becomes ``a + decode(codes') - decode(codes)``, so that what a method does not reconstruct stays in
the network (its error term), and an edit of nothing is the identity to the bit. A split edits the layer itself: each
edited sub-unit adds ``(factor - 1) (w_i q + b_i)`` to its neuron, as in :mod:`methods.disentangled`. A unit is edited
at the tokens where it is most active, as in the ELUDe paper, App. C.3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from harness.errors import UserError
from methods import METHODS
from methods.additive import AdditiveSplit
from methods.base import Method
from methods.patch_choice import strongest
from methods.plugin_calls import calling


class Edit(NamedTuple):
    """Factors of the activations of some units."""

    units: Tensor
    """(m,) int64, each once"""
    factors: Tensor
    """(m,) float32"""
    patches: int | None = None
    """number of tokens per unit and image at which the unit is most active; None: all"""
    prefix: bool = False
    """also edit CLS and register tokens, which are no patches"""


class Intervened(NamedTuple):
    """Output of a layer after an intervention."""

    output: Tensor
    """(B, T, d_out)"""
    activations: Tensor
    """(B, T, m) of the edited units before the edit"""
    touched: Tensor
    """(B, T, m) bool: the tokens at which each unit was edited"""


def edit_of(
    amplify: list[int], suppress: list[int], *, alpha: float, gamma: float, patches: int | None, prefix: bool = False
) -> Edit:
    """Return the edit that scales units of one set by alpha and of the other by gamma; a unit in both is amplified.

    Raises:
        UserError: if alpha or gamma is not a finite number.
    """
    for name, value in (("alpha", alpha), ("gamma", gamma)):
        if not math.isfinite(value):
            raise UserError(f"{name} = {value}: give a finite factor of the activations, such as 5 or -50.")
    factors = dict.fromkeys(suppress, gamma) | dict.fromkeys(amplify, alpha)
    units = sorted(factors)
    return Edit(
        torch.tensor(units, dtype=torch.int64),
        torch.tensor([float(factors[unit]) for unit in units], dtype=torch.float32),
        patches,
        prefix,
    )


def require_editable(method: Method) -> None:
    """Check that the units of a method act on the network.

    Raises:
        UserError: if they do not.
    """
    if method.spec.virtual:
        raise UserError(
            f"{method.spec.name} cannot be steered: its units are virtual, the network computes without them, so an "
            "edit of them would change nothing. Choose a method whose decoder replaces the layer's output."
        )


def intervened(method: Method, edit: Edit, q: Tensor, a: Tensor, positions: Tensor) -> Intervened:
    """Return the layer's output with some units edited.

    Args:
        method: fitted method of the layer.
        edit: units, their factors, and the number of tokens.
        q: (B, T, d_in) input of the layer. Only methods that read the input use it.
        a: (B, T, d_out) output of the layer.
        positions: (T,) position of each token in the grid, negative for CLS and registers.

    Raises:
        UserError: if the method is virtual, a unit does not exist, or the method fails or returns other shapes.
    """
    require_editable(method)
    units = edit.units.to(a.device)
    if len(units) and not 0 <= int(units.min()) <= int(units.max()) < method.n_units:
        wrong = int(units.max()) if int(units.min()) >= 0 else int(units.min())
        raise UserError(f"{method.spec.name} has no unit {wrong}: it has {method.n_units}, numbered from 0.")
    if not len(units):
        none = a.new_zeros((*a.shape[:2], 0))
        return Intervened(a, none, none.bool())
    eligible = None if edit.prefix else positions.to(a.device) >= 0
    x = q if method.spec.reads == "input" else a
    with calling(METHODS, method.spec.name):
        if isinstance(method, AdditiveSplit):
            return _of_split(method, edit, units, x, a, eligible)
        return _of_codes(method, edit, units, x, a, eligible)


def _of_split(
    method: AdditiveSplit, edit: Edit, units: Tensor, x: Tensor, a: Tensor, eligible: Tensor | None
) -> Intervened:
    weights, biases = method.weights.to(x)[units], method.biases.to(x)[units]
    activations = torch.nn.functional.linear(x, weights, biases)
    touched = strongest(activations, edit.patches, eligible)
    change = activations * (edit.factors.to(activations) - 1) * touched
    parents = method.parent.to(a.device)[units]
    return Intervened(a.index_add(-1, parents, change.to(a.dtype)), activations, touched)


def _of_codes(method: Method, edit: Edit, units: Tensor, x: Tensor, a: Tensor, eligible: Tensor | None) -> Intervened:
    rows = x.flatten(0, 1)
    codes = _checked(method, "encode", method.encode(rows), (len(rows), method.n_units))
    activations = codes[:, units].unflatten(0, x.shape[:2])
    touched = strongest(activations, edit.patches, eligible)
    change = (activations * (edit.factors.to(activations) - 1) * touched).flatten(0, 1)
    # Rows without a change keep the output to the bit, and need not be decoded.
    changed = (change != 0).any(1).nonzero()[:, 0]
    output = a.clone().flatten(0, 1)
    if len(changed):
        before = codes[changed]
        after = before.index_add(1, units, change[changed])
        size = (len(changed), a.shape[-1])
        difference = _checked(method, "decode", method.reconstruct(after, rows[changed]), size) - _checked(
            method, "decode", method.reconstruct(before, rows[changed]), size
        )
        output[changed] += difference.to(output.dtype)
    return Intervened(output.unflatten(0, a.shape[:2]), activations, touched)


def _checked(method: Method, call: str, result: Tensor, shape: tuple[int, int]) -> Tensor:
    if not isinstance(result, Tensor) or tuple(result.shape) != shape:
        what = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise UserError(f"{method.spec.name}.{call} returns {what}; it must return a tensor of the shape {shape}.")
    if not bool(torch.isfinite(result).all()):
        raise UserError(f"{method.spec.name}.{call} returns NaN or infinity: the edit is too large or the fit failed.")
    return result
