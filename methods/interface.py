"""Types of the interface of a method: what it is given, what it declares, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, JsonValue, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor, nn

Reads = Literal["input", "output"]

#: Called as ``progress(done, total, what)``. Methods may call it at any rate: the caller throttles.
Progress = Callable[[int, int, str], None]

#: Called as ``on_metrics(step, {"loss": 0.3, ...})`` with metrics of a training after an optimiser step.
OnMetrics = Callable[[int, Mapping[str, float]], None]

Device = str | torch.device

#: Replaces the layer's output (B, T, d_out) in a pass through the network.
Edit = Callable[[Tensor], Tensor]


def no_progress(done: int, total: int, what: str) -> None:
    """Ignore progress (a callback that shows nothing)."""


def no_metrics(step: int, values: Mapping[str, float]) -> None:
    """Ignore metrics (a callback that logs nothing)."""


class LinearSite(Protocol):
    """Interface of the layer ``a = weight @ q + bias``, as far as methods may access it.

    A method that neither reads the input nor has ``spec.needs_weights`` may also be given an output site, such as a
    transformer block: ``d_in`` is then ``d_out``, tokens have no ``"input"``, and ``weight`` and ``bias`` raise
    UserError.
    """

    @property
    def weight(self) -> Tensor:
        """(d_out, d_in) matrix."""

    @property
    def bias(self) -> Tensor:
        """(d_out,), zeros if the layer has no bias."""

    @property
    def d_in(self) -> int: ...

    @property
    def d_out(self) -> int: ...


class Network(Protocol):
    """Network around a site, for methods with ``spec.needs_network``: ``site.network``.

    It is a copy in evaluation mode, whose parameters need no gradients. What ``fit`` does to it changes nothing else.
    An ``edit`` is called once with the layer's output a (B, T, d_out) and returns what the network continues with.
    Gradients flow through what it returns, so those of the logits with respect to the layer's output are::

        outputs = []

        def edit(a):
            outputs.append(a.detach().requires_grad_())
            return outputs[0]

        logits = site.network.logits(images, edit)
        gradient = torch.autograd.grad(logits[:, 0].sum(), outputs[0])[0]  # (B, T, d_out)
    """

    module: nn.Module
    """the whole network"""
    n_classes: int | None
    """number of classes of the network's own classification head; None if it has none"""

    def inputs(self, pixels: Tensor) -> Tensor:
        """Return the network's inputs (B, 3, S, S) for pixels (B, 3, S, S) uint8, on the network's device."""

    def output(self, images: Tensor) -> Tensor:
        """Return the layer's output a (B, T, d_out) for inputs (B, 3, S, S), without gradients."""

    def features(self, images: Tensor, edit: Edit | None = None) -> Tensor:
        """Return the pooled features (B, d) at the end of the network, for inputs (B, 3, S, S)."""

    def logits(self, images: Tensor, edit: Edit | None = None) -> Tensor:
        """Return the logits (B, n_classes) of the network's own head.

        Raises:
            UserError: if it has none: use :meth:`features`.
        """


class NetworkSite(LinearSite, Protocol):
    """Site that a method with ``spec.needs_network`` is given."""

    @property
    def network(self) -> Network:
        """The network around the layer."""


class Tokens(Protocol):
    """Activation instances of the probing set: one row per token, its ``q`` ("input") and its ``a`` ("output").

    ``fit`` may rely on at least one token and finite values: :mod:`methods.requirements` checks them before it. All
    tokens are read once for that, unless they have an attribute ``finite`` that is true.

    Tokens may have a method ``stored(field, start, stop)`` that returns the rows start..stop in the type in which they
    are stored. Training then keeps them in that type, on the device if they fit. ``stored_at(field, rows)`` does the
    same for ascending rows.

    Tokens of which not all fit into memory may have an attribute ``random_parts``: arrays of ascending rows, each a
    random subset of all rows that is quickly read as a whole, and each row in one of them.
    """

    @property
    def n(self) -> int:
        """Number of tokens."""

    @property
    def image(self) -> np.ndarray:
        """(n,) int64: index of each token's image in the probing set."""

    @property
    def position(self) -> np.ndarray:
        """(n,) int32: grid position, row by row; -1 is the CLS token, -2 and below further prefix tokens."""

    @property
    def label(self) -> np.ndarray:
        """(n,) int64: class of each token's image, -1 if it has none. Only supervised methods may read it."""

    def width(self, field: Reads) -> int:
        """Return d_in for "input", d_out for "output"."""

    def batches(self, field: Reads, size: int) -> Iterator[Tensor]:
        """Yield all rows in order as float32 (m, width) with m <= size. Memory use does not grow with n."""

    def gather(self, field: Reads, rows: np.ndarray) -> Tensor:
        """Return the given rows as float32 (len(rows), width)."""

    def columns(self, field: Reads, start: int, stop: int) -> Tensor:
        """Return columns start..stop of all rows as float32 (n, stop - start)."""


class ImageTokens(Tokens, Protocol):
    """Tokens that a method with ``spec.reads_class_names`` or ``spec.reads_images`` is given: each offers its part."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; a label is an index into them."""

    @property
    def n_views(self) -> int:
        """Number of views of each image: its random crops, or 1 for the centre crop."""

    @property
    def view(self) -> np.ndarray:
        """(n,) int64: index of the view that each token is of."""

    @property
    def grid_side(self) -> int | None:
        """Number of grid positions along each side of a view; None if the layer's tokens form no square grid."""

    def pixels(self, image: int, view: int = 0) -> Tensor:
        """Return the pixels (3, S, S) uint8 of one view of an image, as the network saw it, before normalisation.

        The view is cropped and resized. ``image`` is an entry of the tokens' ``image``, ``view`` one of their ``view``.
        """

    def box(self, position: int) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of the pixels of a view at a grid position: its cell of the grid.

        The receptive field of a token is larger. Tokens without a position (CLS, registers) have no box.
        """


#: Mark of a setting that was added after cells with the method existed: ``Field(..., json_schema_extra=ADDED)``. It is
#: left out of a dumped configuration where it has its default, so that those cells keep their ids. The default must
#: compute what the method computed before, and must never change.
ADDED: dict[str, JsonValue] = {"added": True}


class MethodConfig(BaseModel):
    """Base of every method's configuration: typed and immutable; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_serializer(mode="wrap")
    def _without_defaults_of_added_settings(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra == ADDED and getattr(self, name) == field.default:
                values.pop(name, None)
        return values


class MethodSpec(NamedTuple):
    """Properties that a method declares. Claims are shown beside what the harness measures and never replace it."""

    name: str
    """Registry name, e.g. ``topk_sae``."""
    title: str
    """Display name, e.g. ``TopK SAE``."""
    family: str
    """Family of the method: ``control``, ``sae``, ``split``, ``transcoder``, ..."""
    reads: Reads
    """Input of ``encode``: the layer's input q or its output a."""
    reference: str
    """Source of the method."""
    explicit: bool = True
    """Claims that its units can be inspected and edited directly."""
    training_free: bool = False
    """Claims that no parameter is trained."""
    lossless: bool = False
    """Claims that decode(encode(x)) is the layer's output."""
    stable: bool = False
    """Claims the same result on repeated runs."""
    supervised: bool = False
    """Uses class labels."""
    virtual: bool = False
    """Its units are not part of the model: decode passes the original output through."""
    uses_seed: bool = True
    """Claims that ``fit`` depends on its seed; if false, only one initialisation seed is run."""
    version: int = 1
    """Part of every cell's identity. Raise it when a fix changes what the method computes."""
    control_for: tuple[str, ...] = ()
    """Families of which this method is the chance level, at an equal number of units: ``("split",)``, ..."""
    fitted_elsewhere: bool = False
    """``fit`` loads what was fitted before, so its time, memory and gradients say nothing about the method."""
    needs_weights: bool = False
    """``fit`` reads the layer's weight or bias: the method needs a linear layer, as one that reads its input does."""
    reads_class_names: bool = False
    """``fit`` reads ``tokens.class_names``: see :class:`ImageTokens`."""
    reads_images: bool = False
    """``fit`` reads the pixels of images, ``tokens.pixels(image, view)``: see :class:`ImageTokens`."""
    needs_network: bool = False
    """``fit`` runs the network, ``site.network``: see :class:`Network`."""


#: Fields of a spec that declare what else ``fit`` reads. What is not declared is refused when it is accessed.
OFFERS = ("reads_class_names", "reads_images", "needs_network")


class Dictionary(NamedTuple):
    """One direction per unit."""

    atoms: Tensor
    """(n_units, d)"""
    parents: Tensor | None
    """(n_units,) int64: the original unit that each unit was split from; None if there is none."""
    side: Literal["reader", "writer"]
    """Space of the atoms: the layer's input space (d = d_in, "reader") or its output space (d = d_out, "writer")."""
