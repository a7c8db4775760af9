"""Integration of a method into the network: a module that runs the method replaces the layer.

The layer is replaced in a copy of the network that shares all weights with the original. The original stays unmodified,
and both can run in turns.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.activations.linear_site import linear_obstacle
from harness.activations.output_site import OutputSite
from harness.backbones.base import Backbone
from harness.errors import UserError
from methods.additive import AdditiveSplit
from methods.base import Method
from methods.disentangled import DisentangledLinear

Step = Callable[[Tensor], Tensor]

#: Mode of running any method but a split. Modes are the suffixes of score names.
ENCODE_DECODE = ""
#: Modes of running a split: the original product; the sum of the sub-units (the paper's Table 5); the original product,
#: and in addition the activations of all sub-units.
UNEDITED, MATERIALISED, ALL_UNITS = "", "materialised", "all_units"


class EncodeDecode(nn.Module):
    """The layer, followed by the method's encode and decode. The network continues with the reconstruction."""

    def __init__(self, layer: nn.Module, method: Method) -> None:
        super().__init__()
        self.layer = layer
        self.is_conv = isinstance(layer, nn.Conv2d)
        self.reads_input = method.spec.reads == "input"
        # A method is not an nn.Module, so its tensors are not registered as parameters of this module.
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d_in) to (..., d_out); for a convolution (B, d_in, H, W) to (B, d_out, H, W)."""
        a = self.layer(x)
        read = x if self.reads_input else a
        rows = (read.movedim(1, -1) if self.is_conv else read).flatten(0, -2)
        a_hat = self.method.reconstruct(self.method.encode(rows), rows)
        if self.is_conv:
            return a_hat.reshape(a.shape[0], *a.shape[2:], a.shape[1]).movedim(-1, 1)
        return a_hat.reshape(a.shape)


class AllUnitsRead(nn.Module):
    """The unmodified layer, which in addition computes and keeps the activations of all sub-units."""

    def __init__(self, layer: nn.Module, method: AdditiveSplit) -> None:
        super().__init__()
        self.layer = layer
        self.is_conv = isinstance(layer, nn.Conv2d)
        parameter = next(layer.parameters())
        rows = method.weights.to(parameter)
        self.weights: Tensor
        self.biases: Tensor
        self.register_buffer("weights", rows[:, :, None, None] if self.is_conv else rows)
        self.register_buffer("biases", method.biases.to(parameter))
        # Stored, because a compiler would remove a product whose result is never used.
        self.read: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        product = functional.conv2d if self.is_conv else functional.linear
        self.read = product(x, self.weights, self.biases)
        return self.layer(x)  # type: ignore[no-any-return]


def modes_of(method: Method) -> tuple[str, ...]:
    """Return the modes in which a method is timed."""
    return (UNEDITED, MATERIALISED, ALL_UNITS) if isinstance(method, AdditiveSplit) else (ENCODE_DECODE,)


def replacement(layer: nn.Module, method: Method, mode: str) -> nn.Module:
    """Return the module that replaces the layer."""
    if not isinstance(method, AdditiveSplit):
        return EncodeDecode(layer, method)
    if mode == ALL_UNITS:
        return AllUnitsRead(layer, method)
    return DisentangledLinear.from_split(layer, method, materialised=mode == MATERIALISED)


def reconstructing(site: OutputSite, method: Method) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
    """Return a hook after which the network continues with the method's reconstruction of a module's output."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        a = site.tokens_of(output, len(inputs[0]))
        rows = a.flatten(0, 1)
        a_hat = method.reconstruct(method.encode(rows), rows)
        return site.put_back(output, a_hat.unflatten(0, a.shape[:2]))

    return hook


def twin(model: nn.Module) -> nn.Module:
    """Return a copy of a network that shares the original's parameters and buffers."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})


@contextmanager
def integrated(backbone: Backbone, path: str, method: Method, mode: str) -> Iterator[Step]:
    """Yield the network with the method at ``path``, as a function from images (B, 3, S, S) to features (B, d).

    A split is moved to the CPU within the context: the replacement has a copy of its weights, and both would count as
    memory of the device.
    """
    model = twin(backbone.model)
    layer = model.get_submodule(path)
    if linear_obstacle(layer) is None:
        owner_path, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner_path), name, replacement(layer, method, mode))
    else:
        layout: dict[str, Any] = {"n_prefix_tokens": backbone.n_prefix_tokens, "grid_sides": backbone.grid_sides}
        layer.register_forward_hook(reconstructing(OutputSite(model, path, **layout), method))
    device = backbone.device
    if isinstance(method, AdditiveSplit):
        method.to("cpu")
    try:
        yield lambda images: backbone.pool(model, images)
    finally:
        if isinstance(method, AdditiveSplit):
            method.to(device)


def check_reached(backbone: Backbone, path: str, images: Tensor) -> None:
    """Check that a copy of the network calls its own layer exactly once, and not the original's.

    Raises:
        UserError: if it does not, so that replacing the layer of a copy could not be timed.
    """
    model = twin(backbone.model)
    calls: list[int] = []
    model.get_submodule(path).register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        backbone.pool(model, images[:1])
    if len(calls) != 1:
        raise UserError(
            f"The forward pass of a copy of {backbone.name} calls the layer {path!r} {len(calls)} times instead of "
            "once, so replacing it cannot be timed. Choose another layer with --site."
        )
