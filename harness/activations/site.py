"""The site: the linear map inside a backbone that methods decompose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from harness.activations.positions import token_positions
from harness.errors import UserError
from methods.registry import did_you_mean, natural_key, nearest

if TYPE_CHECKING:
    from harness.backbones.base import Backbone

#: Called with q (B, T, d_in) and a (B, T, d_out); its return value replaces a, unless it is None.
Tap = Callable[[Tensor, Tensor], Tensor | None]

#: Runs the network on images (B, 3, S, S), e.g. ``backbone.features``.
Run = Callable[[Tensor], Tensor]


class Captured(NamedTuple):
    """Input and output of the layer for one batch of images."""

    q: Tensor
    """(B, T, d_in) input of the layer"""
    a: Tensor
    """(B, T, d_out) output of the layer"""


class _Stop(Exception):
    """Exception that ends a forward pass once the layer has been captured: the rest of the pass is not needed."""


class Site:
    """One ``nn.Linear`` or 1x1 ``nn.Conv2d`` of a model, named by its module path.

    Tokens have the same layout for every architecture: (B, T, d), with T the sequence of a ViT (prefix tokens first),
    or the positions of a feature map row by row (NCHW of a 1x1 convolution, NHWC of a linear layer).

    Args:
        model: the network that holds the layer.
        path: module path, e.g. ``blocks.11.mlp.fc2`` or ``conv_head``.
        n_prefix_tokens: number of leading tokens of a ViT's sequence that have no grid position (CLS, then registers).
        grid_sides: possible sides of a token grid of the model; None if unknown.

    Raises:
        UserError: if there is no such layer (the message names the nearest ones), or it is not a linear map that is
            applied to each position separately.
    """

    def __init__(
        self, model: nn.Module, path: str, *, n_prefix_tokens: int = 0, grid_sides: Set[int] | None = None
    ) -> None:
        modules = dict(model.named_modules())
        if path not in modules or not path:
            raise UserError(f"The backbone has no layer {path!r}. {_nearest(path, model)}")
        obstacle = _obstacle(modules[path])
        if obstacle is not None:
            raise UserError(f"The layer {path!r} cannot be decomposed: {obstacle}. {_nearest(path, model)}")
        self.path = path
        self.n_prefix_tokens = n_prefix_tokens
        self.grid_sides = grid_sides
        self.module = modules[path]
        self._token_shape: tuple[int, ...] = ()
        self._located_prefix: int | None = None

    @classmethod
    def of(cls, backbone: Backbone, path: str) -> Self:
        """Return the site at ``path`` of a backbone, with the backbone's token layout."""
        return cls(backbone.model, path, n_prefix_tokens=backbone.n_prefix_tokens, grid_sides=backbone.grid_sides)

    @property
    def weight(self) -> Tensor:
        """(d_out, d_in) matrix."""
        result: Tensor = self.module.weight.detach().flatten(1)
        return result

    @property
    def bias(self) -> Tensor:
        """(d_out,), zeros if the layer has no bias."""
        bias = self.module.bias
        return bias.detach() if isinstance(bias, Tensor) else self.weight.new_zeros(self.d_out)

    @property
    def d_in(self) -> int:
        return int(self.weight.shape[1])

    @property
    def d_out(self) -> int:
        return int(self.weight.shape[0])

    def positions(self, n_tokens: int) -> Tensor:
        """Return the position of each token, (T,) int32.

        Grid positions are 0, 1, ... row by row; CLS is -1; registers are -2 and below. The shape of the layer's output
        in the last pass decides; before any pass the tokens count as a sequence.

        Raises:
            UserError: if the positions do not follow from the number of tokens.
        """
        captured = bool(self._token_shape) and math.prod(self._token_shape) == n_tokens
        return token_positions(
            self._token_shape if captured else (n_tokens,),
            n_prefix_tokens=self.n_prefix_tokens,
            grid_sides=self.grid_sides,
            layer=self.path,
        )

    def locate(self, backbone: Backbone) -> None:
        """Run one blank image through the backbone up to the layer, and find the positions of its tokens.

        Raises:
            UserError: if the layer is not called once per image, or its tokens have no known positions.
        """
        n_tokens = self.capture(backbone.features, backbone.blank_images(1)).a.shape[1]
        prefix = int((self.positions(n_tokens) < 0).sum())
        if prefix != min(n_tokens, self.n_prefix_tokens) and len(self._token_shape) == 1:
            self._located_prefix = prefix

    def identity(self) -> dict[str, Any]:
        """Return the layer's path, for identities of what is computed on it.

        A sequence whose number of prefix tokens is not the model's has that number as well, since earlier versions
        placed its tokens wrongly. It is known after :meth:`locate`.
        """
        located = {} if self._located_prefix is None else {"prefix_tokens": self._located_prefix}
        return {"site": self.path, **located}

    @contextmanager
    def tapped(self, tap: Tap, n_images: int) -> Iterator[None]:
        """Pass the layer's tokens to ``tap`` in one forward pass over ``n_images`` images within the context.

        Raises:
            UserError: if the pass does not call the layer, calls it more than once, or calls it on tensors whose first
                dimension is not the number of images.
        """
        calls = 0

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise UserError(
                    f"The layer {self.path!r} is called more than once in a forward pass, so each token has several "
                    "activations: choose a layer that is called once."
                )
            q, a = self._as_tokens(inputs[0], n_images), self._as_tokens(output, n_images)
            edited = tap(q, a)
            return None if edited is None else self._like(edited, output)

        handle = self.module.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()
        if calls == 0:
            raise UserError(f"The forward pass never reached the layer {self.path!r}: choose a layer that it calls.")

    def capture(self, run: Run, images: Tensor) -> Captured:
        """Return the layer's q and a for a batch of images. The network is run up to the layer only."""
        captured: list[Captured] = []

        def tap(q: Tensor, a: Tensor) -> None:
            captured.append(Captured(q.detach(), a.detach()))
            raise _Stop

        with torch.inference_mode(), self.tapped(tap, len(images)), suppress(_Stop):
            run(images)
        return captured[0]

    def replace(self, run: Run, images: Tensor, edit: Tap) -> Tensor:
        """Run the whole network with the layer's output replaced by ``edit(q, a)`` for all tokens."""
        with torch.inference_mode(), self.tapped(edit, len(images)):
            return run(images)

    def check_linear(self, captured: Captured) -> None:
        """Check that the layer computes ``W q + b`` with its ``weight`` and ``bias``.

        Raises:
            UserError: if it does not (e.g. a subclass that standardises or adapts its weights in the forward pass).
        """
        expected = captured.q @ self.weight.T + self.bias
        scale = float(captured.a.abs().max()) or 1.0
        if float((expected - captured.a).abs().max()) > 1e-2 * scale:
            raise UserError(
                f"The layer {self.path!r} ({type(self.module).__name__}) does not compute its weight times its "
                "input plus its bias, so methods that split weights would be wrong. Choose a plain linear layer."
            )

    # ---- layouts

    def _as_tokens(self, tensor: Tensor, n_images: int) -> Tensor:
        """Return the layer's input or output as tokens (B, T, d)."""
        if tensor.shape[0] != n_images:
            raise UserError(
                f"The layer {self.path!r} works on {tensor.shape[0]} groups of tokens for {n_images} images (windowed "
                "attention does that), so its tokens have no fixed image position: choose a layer outside of it."
            )
        if isinstance(self.module, nn.Conv2d):
            self._token_shape = tuple(tensor.shape[2:])
            return tensor.flatten(2).transpose(1, 2)
        self._token_shape = tuple(tensor.shape[1:-1])
        return tensor.reshape(n_images, -1, tensor.shape[-1])

    def _like(self, tokens: Tensor, original: Tensor) -> Tensor:
        """Convert tokens (B, T, d) back to the layout, dtype and device of ``original``."""
        if isinstance(self.module, nn.Conv2d):
            tokens = tokens.transpose(1, 2)
        return tokens.reshape(original.shape).to(original)


def site_paths(model: nn.Module) -> list[str]:
    """Return the module paths of all layers of a model that can be a site, in natural order."""
    paths = [name for name, module in model.named_modules() if name and _obstacle(module) is None]
    return sorted(paths, key=natural_key)


def _obstacle(module: nn.Module) -> str | None:
    """Return the reason why a module cannot be a site, or None if it can."""
    if isinstance(module, nn.Linear):
        return None
    if not isinstance(module, nn.Conv2d):
        return f"it is a {type(module).__name__}, and a site is an nn.Linear or a 1x1 nn.Conv2d"
    shape = (module.kernel_size, module.stride, module.groups)
    if shape != ((1, 1), (1, 1), 1) or module.padding not in ((0, 0), "same", "valid"):
        return (
            f"its kernel is {module.kernel_size[0]}x{module.kernel_size[1]} with stride {module.stride[0]} in "
            f"{module.groups} groups, and a convolution must be 1x1 with stride 1 in one group"
        )
    return None


def _nearest(path: str, model: nn.Module) -> str:
    """Return a sentence that names the valid paths nearest to ``path``, or all of them if there are few."""
    paths = site_paths(model)
    if len(paths) <= 12:
        return did_you_mean(path, paths)
    hint = nearest(path, paths) or f"The last ones are {', '.join(paths[-3:])}. "
    return f"{hint}It has {len(paths)} such layers: `harness list sites --backbone NAME` lists them."
