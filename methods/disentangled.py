"""Linear layer with explicit sub-units, which replaces the original layer inside the model after a split.

Without edits it computes only the original product, so the model's output is bit for bit unchanged. Sub-units add cost
only if they are read, edited, or used to compute the output (``materialised``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from methods.additive import AdditiveSplit
from methods.errors import UserError
from methods.patch_choice import strongest

Units = int | Sequence[int] | Tensor

# Largest deviation of the sums of float32 sub-unit weights from the layer's weights, relative to its largest weight;
# rounding is 1e-6.
SAME_LAYER = 1e-3


class DisentangledLinear(nn.Module):
    """A layer ``a = W q + b`` of d_out neurons, and its n_units sub-units ``w_i q + b_i`` that sum to the neurons.

    Built by :meth:`from_split` from an ``nn.Linear``, or an ``nn.Conv2d`` with a 1x1 kernel. In the following x is the
    layer's input: (..., d_in), or for a convolution (..., d_in, H, W); units are numbered as in the fitted method.

    ``weight`` and ``bias`` are the layer's own parameters under the layer's own names, so that a ``state_dict`` of the
    model without the split loads with ``strict=False``. The split is stored in buffers; it does not follow later
    changes of ``weight``. Edits are not part of ``state_dict``; ``deepcopy`` and ``.to`` keep them.

    Args:
        weight, bias: the layer's parameters.
        sub_weight: (n_units, d_in), sub_bias: (n_units,), parent: (n_units,) int64 as in :class:`AdditiveSplit`.
        materialised: start in this mode, see :attr:`materialised`.
    """

    bias: nn.Parameter | None
    parent: Tensor
    sub_weight: Tensor
    sub_bias: Tensor
    row_of: Tensor
    """(n_units,) position of each unit in ``sub_weight`` and ``sub_bias``"""
    neuron_at: Tensor
    edited: Tensor
    edit_weight: Tensor
    edit_bias: Tensor
    materialised: bool
    """Compute all sub-units and sum them, as in the paper's App. B.4, instead of the original product: equal up to
    rounding, and n_units / d_out times the work. Used to measure that cost; edits work in both modes.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        sub_weight: Tensor,
        sub_bias: Tensor,
        parent: Tensor,
        *,
        materialised: bool = False,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.register_parameter("bias", bias)
        self.is_conv = weight.ndim == 4
        self.materialised = materialised
        # A copy: loading a state_dict writes into it, and the method must keep its own tensors.
        self.register_buffer("parent", parent.to(weight.device, copy=True))
        rows = self._lay_out()
        self.register_buffer("sub_weight", sub_weight.to(weight)[rows].contiguous())
        self.register_buffer("sub_bias", sub_bias.to(weight)[rows].contiguous())
        self._edits: dict[int, tuple[float, float]] = {}
        self._patch_edits: dict[tuple[int | None, int], dict[int, float]] = {}
        self._compile_edits()

    @classmethod
    def from_split(cls, layer: nn.Module, method: AdditiveSplit, *, materialised: bool = False) -> DisentangledLinear:
        """Return the layer with the fitted split of its neurons; it shares the layer's parameters.

        Raises:
            UserError: if the layer is of another kind, or the method is unfitted or was fitted to another layer.
        """
        check_layer(layer)
        method.require_fitted()
        weight, bias = layer.weight, layer.bias
        matrix = weight.detach().flatten(1).cpu().double()  # type: ignore[operator]
        offset = matrix.new_zeros(len(matrix)) if bias is None else bias.detach().cpu().double()  # type: ignore[operator]
        sums = method.summed(method.weights.detach().cpu().double().T, int(method.width)).T
        offsets = method.summed(method.biases.detach().cpu().double()[None], int(method.width))[0]
        if sums.shape != matrix.shape:
            raise UserError(
                f"The split is of a layer {sums.shape[1]} -> {sums.shape[0]}, and this one is {matrix.shape[1]} -> "
                f"{matrix.shape[0]}: fit the method to this layer."
            )
        slack = max(SAME_LAYER, 2 * torch.finfo(weight.dtype).eps)  # type: ignore[arg-type]
        for total, original in ((sums, matrix), (offsets, offset)):
            largest = max(float(original.abs().max()), float(matrix.abs().max()))
            if float((total - original).abs().max()) > slack * largest:
                raise UserError("The weights of the split do not sum to those of this layer: fit it to this layer.")
        split_layer = cls(weight, bias, method.weights, method.biases, method.parent, materialised=materialised)  # type: ignore[arg-type]
        return split_layer.train(layer.training)

    # ---- computation

    @property
    def d_in(self) -> int:
        return int(self.weight.shape[1])

    @property
    def d_out(self) -> int:
        return int(self.weight.shape[0])

    # Attributes that callers of the original layer may read.
    in_features = in_channels = d_in
    out_features = out_channels = d_out

    @property
    def n_units(self) -> int:
        return len(self.parent)

    @property
    def unit_axis(self) -> int:
        """Axis of the input x, and of the output, that indexes units: -1, for a convolution -3."""
        return -3 if self.is_conv else -1

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output: (..., d_out), or (..., d_out, H, W)."""
        out = self._merged(x) if self.materialised else self._linear(x, self.weight, self.bias)
        if len(self.edited):
            change = self._linear(x, self._kernel(self.edit_weight), self.edit_bias)
            out = out.index_add(self.unit_axis, self.edited, change.to(out.dtype))
        for (patches, prefix_tokens), scales in self._patch_edits.items():
            out = self._edited_at_patches(out, x, scales, patches, prefix_tokens)
        return out

    def _edited_at_patches(
        self, out: Tensor, x: Tensor, scales: Mapping[int, float], patches: int | None, prefix_tokens: int
    ) -> Tensor:
        if x.ndim < 2:
            raise UserError(f"Edits of patches need the positions of an image, and the input is {tuple(x.shape)}.")
        units = self._indices(list(scales))
        activations = self.subunits(x, units)
        tokens = activations.flatten(-2).transpose(-1, -2) if self.is_conv else activations
        eligible = torch.arange(tokens.shape[-2], device=tokens.device) >= prefix_tokens
        change = tokens * (tokens.new_tensor(list(scales.values())) - 1) * strongest(tokens, patches, eligible)
        rows = change.transpose(-1, -2).reshape(activations.shape) if self.is_conv else change
        return out.index_add(self.unit_axis, self.parent[units], rows.to(out.dtype))

    def subunits(self, x: Tensor, units: Units | None = None) -> Tensor:
        """Return unedited activations (..., n_units) or (..., n_units, H, W) of the sub-units, or of the given ones."""
        rows = self.row_of if units is None else self.row_of[self._indices(units)]
        return self._linear(x, self._kernel(self.sub_weight[rows]), self.sub_bias[rows])

    def _merged(self, x: Tensor) -> Tensor:
        """Return the sub-units summed per neuron: the first of each neuron, plus the second of those with two, etc.

        Rows are laid out in that order, neurons with more sub-units first, so that every step adds a slice to the
        front. That is deterministic, unlike an ``index_add`` on a GPU, and compiles to one kernel.
        """
        axis = self.unit_axis
        summands = self._linear(x, self._kernel(self.sub_weight), self.sub_bias)
        parts = torch.split(summands, self._steps, dim=axis)
        out = parts[0].clone()
        for part in parts[1:]:
            out.narrow(axis, 0, part.shape[axis]).add_(part)
        result: Tensor = out.index_select(axis, self.neuron_at)
        return result

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(x, weight, bias) if self.is_conv else functional.linear(x, weight, bias)

    def _kernel(self, rows: Tensor) -> Tensor:
        return rows[:, :, None, None] if self.is_conv else rows

    # ---- edits

    def edit(self, units: Units, *, scale: float = 1.0, offset: float = 0.0) -> None:
        """Make these sub-units contribute ``scale * activation + offset`` from now on, replacing their earlier edits.

        The cost is a matrix product with one row per neuron that has an edited sub-unit:
        ``out_u = a_u + sum over edited sub-units i of u ((scale_i - 1) (w_i q + b_i) + offset_i)``.

        Raises:
            UserError: if a sub-unit does not exist.
        """
        chosen = self._indices(units).tolist()
        self._forget_patch_edits(chosen)
        for unit in chosen:
            self._edits[unit] = (float(scale), float(offset))
        self._compile_edits()

    def edit_patches(self, units: Units, *, scale: float, patches: int | None, prefix_tokens: int = 0) -> None:
        """Scale these sub-units from now on, but only at the positions of each image at which they are most active.

        ``out_u = a_u + sum over these sub-units i of u (scale - 1) (w_i q + b_i)`` at those positions, in place of
        earlier edits of these sub-units. The input must be (..., T, d_in), with the T positions of one image, or
        (..., d_in, H, W).

        Args:
            scale: factor of the activation; 0 removes it.
            patches: number of positions per sub-unit and image; None: all positions.
            prefix_tokens: number of first tokens that are never changed, such as CLS and registers.

        Raises:
            UserError: if a sub-unit does not exist, or a number is negative.
        """
        whole = [prefix_tokens] if patches is None else [prefix_tokens, patches]
        if not all(isinstance(number, int) and number >= 0 for number in whole) or not math.isfinite(scale):
            raise UserError(
                f"patches = {patches} and prefix_tokens = {prefix_tokens} must be whole numbers that are not negative, "
                f"and scale = {scale} a finite number."
            )
        chosen = self._indices(units).tolist()
        self._forget_patch_edits(chosen)
        for unit in chosen:
            self._edits.pop(unit, None)
        self._compile_edits()
        if chosen:
            self._patch_edits.setdefault((patches, prefix_tokens), {}).update(dict.fromkeys(chosen, float(scale)))

    def _forget_patch_edits(self, units: Sequence[int]) -> None:
        forgotten = set(units)
        left = {
            key: {unit: scale for unit, scale in scales.items() if unit not in forgotten}
            for key, scales in self._patch_edits.items()
        }
        self._patch_edits = {key: scales for key, scales in left.items() if scales}

    def ablate(self, units: Units) -> None:
        """Remove these sub-units' contributions: ``edit(units, scale=0)``."""
        self.edit(units, scale=0.0)

    def reset(self, units: Units | None = None) -> None:
        """Undo the edits of these sub-units, or all edits. Without edits the layer equals the original bit for bit."""
        all_edited = [*self._edits, *(unit for scales in self._patch_edits.values() for unit in scales)]
        chosen = all_edited if units is None else self._indices(units).tolist()
        for unit in chosen:
            self._edits.pop(unit, None)
        self._forget_patch_edits(chosen)
        self._compile_edits()

    @property
    def edits(self) -> Mapping[int, tuple[float, float]]:
        """Scale and offset of each sub-unit that :meth:`edit` has edited."""
        return dict(self._edits)

    @property
    def patch_edits(self) -> Mapping[int, tuple[float, int | None]]:
        """Scale and number of patches of each sub-unit that :meth:`edit_patches` has edited."""
        return {unit: (scale, patches) for (patches, _), of in self._patch_edits.items() for unit, scale in of.items()}

    def _compile_edits(self) -> None:
        """Sum the edits of each neuron into one row of weights: edits are linear in the input."""
        units = torch.tensor(sorted(self._edits), dtype=torch.int64, device=self.weight.device)
        settings = [self._edits[unit] for unit in units.tolist()]
        scale, offset = (self.sub_bias.new_tensor([pair[i] for pair in settings]) for i in (0, 1))
        neurons, group = torch.unique(self.parent[units], return_inverse=True)
        rows = self.row_of[units]
        weight = self.sub_weight.new_zeros(len(neurons), self.d_in)
        weight.index_add_(0, group, (scale - 1)[:, None] * self.sub_weight[rows])
        bias = self.sub_bias.new_zeros(len(neurons)).index_add_(0, group, (scale - 1) * self.sub_bias[rows] + offset)
        self.register_buffer("edited", neurons, persistent=False)
        self.register_buffer("edit_weight", weight, persistent=False)
        self.register_buffer("edit_bias", bias, persistent=False)

    def _indices(self, units: Units) -> Tensor:
        chosen = torch.as_tensor(units, device=self.parent.device).reshape(-1).long()
        wrong = chosen[(chosen < 0) | (chosen >= self.n_units)]
        if len(wrong):
            raise UserError(f"There is no sub-unit {int(wrong[0])}: the layer has {self.n_units}, numbered from 0.")
        return chosen

    # ---- layout and storage

    def _lay_out(self) -> Tensor:
        """Set up the order of rows that :meth:`_merged` needs; return the unit (n_units,) of each row."""
        counts = torch.bincount(self.parent, minlength=self.d_out)
        neurons = torch.argsort(counts, descending=True, stable=True)
        rank = torch.argsort(neurons)
        by_parent = torch.argsort(self.parent, stable=True)
        nth = torch.empty_like(self.parent)
        first = (counts.cumsum(0) - counts)[self.parent[by_parent]]
        nth[by_parent] = torch.arange(self.n_units, device=nth.device) - first
        rows = torch.argsort(nth * self.d_out + rank[self.parent])
        self._steps = torch.bincount(nth).tolist()
        self.register_buffer("row_of", torch.argsort(rows), persistent=False)
        self.register_buffer("neuron_at", rank, persistent=False)
        return rows

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        # The loaded split may distribute its sub-units differently.
        self._lay_out()
        self._edits, self._patch_edits = {}, {}
        self._compile_edits()

    def save(self, path: str | Path) -> Path:
        """Write the layer and its split, without edits, to one safetensors file."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, path, metadata={"disentangled": json.dumps({"materialised": self.materialised})})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> DisentangledLinear:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: if the file is missing or is not a disentangled layer.
        """
        if not Path(path).is_file():
            raise UserError(f"There is no disentangled layer at {str(path)!r}.")
        try:
            with safe_open(str(path), framework="pt") as file:
                materialised = bool(json.loads((file.metadata() or {})["disentangled"])["materialised"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except Exception as error:
            raise UserError(f"{str(path)!r} is not a saved disentangled layer ({type(error).__name__}).") from error
        bias = nn.Parameter(tensors["bias"]) if "bias" in tensors else None
        weights, biases, parent = tensors["sub_weight"], tensors["sub_bias"], tensors["parent"]
        layer = cls(nn.Parameter(tensors["weight"]), bias, weights, biases, parent, materialised=materialised)
        # The sub-units in the file are in row order already: copy them unchanged.
        layer.load_state_dict(tensors)
        return layer

    def extra_repr(self) -> str:
        n_edited = len({*self._edits, *self.patch_edits})
        edited = f", {n_edited} edited" if n_edited else ""
        return f"{self.d_in} -> {self.d_out}, {self.n_units} sub-units{edited}, materialised={self.materialised}"


def check_layer(layer: nn.Module) -> None:
    """Raise UserError unless the layer is an ``nn.Linear`` or a 1x1 ``nn.Conv2d`` that maps each position by itself."""
    if isinstance(layer, nn.Linear):
        return
    if not isinstance(layer, nn.Conv2d):
        raise UserError(f"A {type(layer).__name__} cannot be split: choose an nn.Linear or a 1x1 nn.Conv2d.")
    padded = layer.padding not in ((0, 0), "same", "valid")
    if layer.kernel_size != (1, 1) or layer.stride != (1, 1) or layer.groups != 1 or padded:
        raise UserError(
            f"{layer} cannot be split: a convolution must be 1x1 with stride 1 in one group, without padding."
        )


class Swap:
    """Replacement of a model's layer by its disentangled form; :meth:`restore`, or leaving a ``with``, undoes it."""

    def __init__(self, model: nn.Module, path: str, layer: DisentangledLinear) -> None:
        self.layer = layer
        parent, _, self._name = path.rpartition(".")
        self._owner = model.get_submodule(parent)
        self._original = self._owner.get_submodule(self._name)
        setattr(self._owner, self._name, layer)

    def restore(self) -> None:
        """Put the original layer back; calling it again has no effect."""
        setattr(self._owner, self._name, self._original)

    def __enter__(self) -> DisentangledLinear:
        return self.layer

    def __exit__(self, *_: object) -> None:
        self.restore()


def swap(model: nn.Module, path: str, method: AdditiveSplit, *, materialised: bool = False) -> Swap:
    """Replace the layer at a module path by its disentangled form, inside the model.

    Hooks registered on the original layer stay on it, so they do nothing while it is replaced.

    Raises:
        UserError: if there is no such layer, it is of another kind, or the split was fitted to another layer.
    """
    try:
        layer = model.get_submodule(path)
    except AttributeError as error:
        raise UserError(f"The model has no layer {path!r}.") from error
    if layer is model:
        raise UserError("swap: path is empty; it must name a layer inside the model.")
    return Swap(model, path, DisentangledLinear.from_split(layer, method, materialised=materialised))
