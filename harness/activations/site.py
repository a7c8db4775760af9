"""Site: the place inside a backbone whose output tokens methods decompose.

There are two kinds: a linear layer, with its input and its weights (:mod:`harness.activations.linear_site`), and any
other module that returns one tensor per token (:mod:`harness.activations.output_site`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from harness.activations.positions import token_positions
from harness.errors import UserError
from methods.base import MethodSpec, Reads
from methods.tracing import DEVICE, traced

if TYPE_CHECKING:
    from harness.backbones.base import Backbone
    from methods.interface import Network

#: Called with q (B, T, d_in) and a (B, T, d_out); its return value replaces a, unless it is None.
Tap = Callable[[Tensor, Tensor], Tensor | None]

#: Runs the network on images (B, 3, S, S), e.g. ``backbone.features``.
Run = Callable[[Tensor], Tensor]

SiteKind = Literal["linear", "output"]


class Captured(NamedTuple):
    """Input and output of the site for one batch of images."""

    q: Tensor
    """(B, T, d_in) input of the layer; of an output site, its output"""
    a: Tensor
    """(B, T, d_out) output"""


class _Stop(Exception):
    """Exception that ends a forward pass once the site has been captured: the rest of the pass is not needed."""


class Site(ABC):
    """One module of a model, named by its path, whose output is one vector per token.

    Tokens have the same layout for every architecture: (B, T, d), with T the sequence of a ViT (prefix tokens first),
    or the positions of a feature map row by row.

    Args:
        model: the network that holds the module.
        path: module path, e.g. ``blocks.11.mlp.fc2``, ``conv_head`` or ``blocks.10``.
        n_prefix_tokens: number of leading tokens of a ViT's sequence that have no grid position (CLS, then registers).
        grid_sides: possible sides of a token grid of the model; None if unknown.
    """

    kind: ClassVar[SiteKind]
    fields: ClassVar[tuple[Reads, ...]]
    """Fields of a token: its input and its output, or its output alone."""

    def __init__(
        self, model: nn.Module, path: str, *, n_prefix_tokens: int = 0, grid_sides: Set[int] | None = None
    ) -> None:
        self.path = path
        self.n_prefix_tokens = n_prefix_tokens
        self.grid_sides = grid_sides
        self.module = model.get_submodule(path)
        self.backbone_name: str | None = None
        """set by :func:`harness.activations.sites.open_site`"""
        self._token_shape: tuple[int, ...] = ()
        self._located_prefix: int | None = None

    # ---- what a kind of site implements

    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """(d_out, d_in) matrix.

        Raises:
            UserError: if the site has no weights.
        """

    @property
    @abstractmethod
    def bias(self) -> Tensor:
        """(d_out,), zeros if the layer has no bias.

        Raises:
            UserError: if the site has no weights.
        """

    @property
    @abstractmethod
    def d_in(self) -> int:
        """Width of the input; of an output site, that of the output."""

    @property
    @abstractmethod
    def d_out(self) -> int:
        """Width of the output."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Data type in which the site computes."""

    @property
    @abstractmethod
    def layer_macs(self) -> int | None:
        """Multiply-accumulates per token of the layer; None if they are not known."""

    @abstractmethod
    def check(self, captured: Captured) -> None:
        """Check that the site computes what methods assume.

        Raises:
            UserError: if it does not.
        """

    @abstractmethod
    def _input(self, inputs: tuple[Any, ...], output: Any, n_images: int) -> Tensor:
        """Return q (B, T, d_in) of one call."""

    @abstractmethod
    def _output(self, output: Any, n_images: int) -> Tensor:
        """Return a (B, T, d_out) of one call, and remember the shape of its tokens."""

    @abstractmethod
    def _replaced(self, output: Any, tokens: Tensor) -> Any:
        """Return what the module returned, with tokens (B, T, d_out) in place of its own."""

    @abstractmethod
    def _copied(self, output: Any) -> Any:
        """Return what the module returned, with its tokens in memory of their own."""

    # ---- what follows from these

    @property
    def network(self) -> Network:
        """Network around the site, for methods that declare it (:mod:`harness.activations.offers`).

        Raises:
            UserError: always.
        """
        raise UserError("site.network is for methods that declare it: add needs_network=True to the MethodSpec.")

    @property
    def token_widths(self) -> dict[Reads, int]:
        """Width of each field of a token."""
        return {name: self.d_in if name == "input" else self.d_out for name in self.fields}

    def positions(self, n_tokens: int) -> Tensor:
        """Return the position of each token, (T,) int32.

        Grid positions are 0, 1, ... row by row; CLS is -1; registers are -2 and below. The shape of the output in the
        last pass decides; before any pass the tokens count as a sequence.

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
        """Run two blank images through the backbone up to the layer, and find the positions of its tokens.

        Raises:
            UserError: if the layer is not called once per image, or its tokens have no known positions.
        """
        # Two images: a table of positions, the same for every image, has one row for one image and for two.
        n_tokens = self.capture(backbone.features, backbone.blank_images(2)).a.shape[1]
        prefix = int((self.positions(n_tokens) < 0).sum())
        if prefix != min(n_tokens, self.n_prefix_tokens) and len(self._token_shape) == 1:
            self._located_prefix = prefix

    def identity(self) -> dict[str, Any]:
        """Return the path, for identities of what is computed on it.

        A sequence whose number of prefix tokens is not the model's has that number as well, since earlier versions
        placed its tokens wrongly. It is known after :meth:`locate`.
        """
        located = {} if self._located_prefix is None else {"prefix_tokens": self._located_prefix}
        return {"site": self.path, **located}

    @contextmanager
    def tapped(self, tap: Tap, n_images: int, *, first: bool = False) -> Iterator[None]:
        """Pass the layer's tokens to ``tap`` in one forward pass over ``n_images`` images within the context.

        Args:
            tap: function from q and a to what replaces a.
            n_images: number of images of the pass.
            first: True to edit before the hooks that the module has, so that they are given the edited tokens.

        Raises:
            UserError: if the pass does not call the layer, calls it more than once, or calls it on tensors whose first
                dimension is not the number of images.
        """
        calls = 0

        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise UserError(
                    f"The layer {self.path!r} is called more than once in a forward pass, so each token has several "
                    "activations: choose a layer that is called once."
                )
            a = self._output(output, n_images)
            edited = tap(self._input(inputs, output, n_images), a)
            # Later modules may work in place, and what was captured must not change.
            return self._copied(output) if edited is None else self._replaced(output, edited)

        handle = self.module.register_forward_hook(hook, prepend=first)
        try:
            yield
        finally:
            handle.remove()
        if calls == 0:
            raise UserError(f"The forward pass never reached the layer {self.path!r}: choose a layer that it calls.")

    @traced("network", DEVICE)
    def capture(self, run: Run, images: Tensor) -> Captured:
        """Return the layer's q and a for a batch of images. The network is run up to the layer only."""
        captured: list[Captured] = []

        def tap(q: Tensor, a: Tensor) -> None:
            captured.append(Captured(q.detach(), a.detach()))
            raise _Stop

        with torch.inference_mode(), self.tapped(tap, len(images)), suppress(_Stop):
            run(images)
        return captured[0]

    @traced("network", DEVICE)
    def replace(self, run: Run, images: Tensor, edit: Tap) -> Tensor:
        """Run the whole network with the layer's output replaced by ``edit(q, a)`` for all tokens."""
        with torch.inference_mode(), self.tapped(edit, len(images)):
            return run(images)


def require_per_image(tensor: Tensor, n_images: int, path: str) -> None:
    """Check that the first dimension of a module's tensor counts images.

    Raises:
        UserError: if it does not.
    """
    if tensor.shape[0] != n_images:
        raise UserError(
            f"The layer {path!r} works on {tensor.shape[0]} groups of tokens for {n_images} images (windowed "
            "attention does that), so its tokens have no fixed image position: choose a layer outside of it."
        )


def needs_linear(spec: MethodSpec) -> bool:
    """Return True for a method that reads the input of the layer or splits its weights."""
    return spec.reads == "input" or spec.needs_weights
