"""Linear site: an ``nn.Linear`` or 1x1 ``nn.Conv2d`` with its input, its output and its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.activations.site import Captured, Site, require_per_image
from harness.errors import UserError


class LinearLayerSite(Site):
    """Layer ``a = W q + b`` that is applied to each position separately.

    The features are the last dimension of a linear layer (of any shape in between), and the second one of a
    convolution.
    """

    kind = "linear"
    fields = ("input", "output")

    @property
    def weight(self) -> Tensor:
        """(d_out, d_in) matrix."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return weight.detach().flatten(1)

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

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    @property
    def layer_macs(self) -> int | None:
        return self.d_in * self.d_out

    def check(self, captured: Captured) -> None:
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

    def _input(self, inputs: tuple[Any, ...], output: Any, n_images: int) -> Tensor:
        return self._as_tokens(inputs[0], n_images)

    def _output(self, output: Any, n_images: int) -> Tensor:
        return self._as_tokens(output, n_images)

    def _as_tokens(self, tensor: Tensor, n_images: int) -> Tensor:
        require_per_image(tensor, n_images, self.path)
        if isinstance(self.module, nn.Conv2d):
            self._token_shape = tuple(tensor.shape[2:])
            return tensor.flatten(2).transpose(1, 2)
        self._token_shape = tuple(tensor.shape[1:-1])
        return tensor.reshape(n_images, -1, tensor.shape[-1])

    def _replaced(self, output: Any, tokens: Tensor) -> Tensor:
        original: Tensor = output
        if isinstance(self.module, nn.Conv2d):
            tokens = tokens.transpose(1, 2)
        return tokens.reshape(original.shape).to(original)

    def _copied(self, output: Any) -> Tensor:
        original: Tensor = output
        return original.clone()


def linear_obstacle(module: nn.Module) -> str | None:
    """Return the reason why a module is no linear site, or None if it is one."""
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
