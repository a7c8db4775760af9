"""Sparse autoencoder that another program trained: encoder, activation, decoder, and its normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Reads, Tokens
from methods.errors import UserError
from methods.half_precision import in_float32
from methods.linear_decoder import LinearDecoder

if TYPE_CHECKING:
    from methods.sae.matching_pursuit_steps import CachedGram

Activation = Literal["relu", "topk", "signed_topk", "abstopk", "jumprelu", "gated", "linear", "matching_pursuit"]
#: Activations that need ``k``.
COUNTED = ("topk", "signed_topk", "abstopk", "matching_pursuit")
TokenScale = Literal["none", "rms", "layer_norm"]


class TrainedConfig(MethodConfig):
    """Settings of the computation with the tensors of a trained dictionary."""

    activation: Activation = "relu"
    k: int | None = Field(None, ge=1, description="units that are kept per token, or steps of a pursuit")
    token_scale: TokenScale = Field("none", description="normalisation of each token before the encoder")
    eps: float = Field(0.0, ge=0, description="layer_norm: added to the standard deviation of a token")
    reads: Reads = Field("output", description="input: a transcoder, from the input of a linear layer to its output")
    skip: bool = Field(False, description="add a linear map of what is read to the output")


class TrainedDictionary(LinearDecoder):
    """Dictionary with a linear encoder, whatever program has trained it.

    With x the layer's output, normalised per token to ``y = (x - m) / s``::

        codes  = activation(encoder_weight y + encoder_bias)
        output = (codes atoms + output_bias) * s + m

    m and s are 0 and 1 without a token scale; ``rms``: 0 and ``|x| / sqrt(d)``; ``layer_norm``: mean and standard
    deviation (unbiased) of the token's features, with ``eps`` added to s in y alone. The activations are

    - ``relu``: ``max(pre, 0)``; ``linear``: pre;
    - ``topk``: the k largest of pre, and of them the positive ones; ``signed_topk``: the k largest, negative ones too;
      ``abstopk``: the k of the largest magnitude;
    - ``jumprelu``: ``max(pre, 0)`` where ``pre > threshold``;
    - ``gated``: ``max(value_scale * (pre - encoder_bias) + value_bias, 0)`` where ``pre > 0``;
    - ``matching_pursuit``: with r = y, k times ``c = encoder_weight_u r + encoder_bias_u`` is added to the code of the
      unit u where c is largest, and ``c atoms_u`` is subtracted from r.

    A transcoder (``reads = "input"``) has the layer's input as x and writes its output, whose scale is another, so only
    y is normalised: ``output = codes atoms + output_bias``. With ``skip``, ``skip_weight x`` is added to the output.

    A constant subtracted from the token, or a constant scale, is folded into the tensors by the format that reads it.
    """

    spec = MethodSpec(
        name="trained_dictionary",
        title="trained dictionary",
        family="sae",
        reads="output",
        reference="weights that were trained elsewhere",
        uses_seed=False,
    )
    Config = TrainedConfig
    fitted: ClassVar[tuple[str, ...]] = ("encoder_weight", "encoder_bias", "atoms", "output_bias")

    encoder_weight: Tensor
    """(n_units, d_in)"""
    encoder_bias: Tensor
    """(n_units,)"""
    threshold: Tensor
    """(n_units,) of ``jumprelu``"""
    value_scale: Tensor
    """(n_units,) of ``gated``"""
    value_bias: Tensor
    """(n_units,) of ``gated``"""
    skip_weight: Tensor
    """(d_out, d_in) of ``skip``"""
    _cached_gram: CachedGram | None = None

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        extra = {"jumprelu": ("threshold",), "gated": ("value_scale", "value_bias")}
        skip = ("skip_weight",) if self.config.skip else ()
        self.fitted = (*type(self).fitted, *extra.get(self.config.activation, ()), *skip)  # type: ignore[misc]
        self.spec = type(self).spec._replace(reads=self.config.reads)  # type: ignore[misc]

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        raise UserError("A trained dictionary is not fitted again: use pretrained_sae, which loads it.")

    @classmethod
    def of(cls, config: TrainedConfig, tensors: dict[str, Tensor]) -> TrainedDictionary:
        """Return the dictionary with these tensors, named as the attributes of the class.

        Raises:
            UserError: if tensors are missing, or their shapes do not fit together.
        """
        dictionary = cls(config)
        for name in dictionary.fitted:
            if name not in tensors:
                raise UserError(f"the tensor {name!r} of the activation {config.activation} is missing")
            setattr(dictionary, name, tensors[name].detach().clone().contiguous())
        dictionary.require_shapes()
        return dictionary

    def require_shapes(self) -> None:
        """Check the shapes of the tensors.

        Raises:
            UserError: if they do not fit together.
        """
        units, width = self.encoder_weight.shape if self.encoder_weight.ndim == 2 else (-1, -1)
        wanted: dict[str, tuple[int, ...]] = dict.fromkeys(self.fitted, (units,))
        wanted |= {"encoder_weight": (units, width), "atoms": (units, self.atoms.shape[-1])}
        wanted |= {"output_bias": (self.atoms.shape[-1],)}
        wanted |= {"skip_weight": (self.atoms.shape[-1], width)} if self.config.skip else {}
        for name, shape in wanted.items():
            tensor: Tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or not tensor.is_floating_point():
                raise UserError(
                    f"the tensor {name!r} has the shape {tuple(tensor.shape)} and type {tensor.dtype}, and with "
                    f"{units} units of {width} features it must be {shape} of floating-point numbers"
                )
        kind = self.config.activation
        if kind in COUNTED and not 1 <= (self.config.k or 0) <= units:
            raise UserError(f"{kind} keeps k = {self.config.k} units per token, and there are {units}")

    @property
    def decode_reads_input(self) -> bool:
        return bool(self.config.skip or self._scales_output)

    @property
    def _scales_output(self) -> bool:
        return bool(self.config.token_scale != "none" and self.config.reads == "output")

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        shift, scale = self._token_scale(x)
        weight, bias = self.encoder_weight.to(x), self.encoder_bias.to(x)
        rows = x if scale is None else (x - shift) / (scale + self.config.eps)
        kind = self.config.activation
        if kind == "matching_pursuit":
            return self._pursued(rows, weight, bias)
        pre = functional.linear(rows, weight, bias)
        if kind == "linear":
            return pre
        if kind in ("topk", "signed_topk"):
            kept = pre.topk(self.config.k, dim=1)
            values = kept.values.relu() if kind == "topk" else kept.values
            return torch.zeros_like(pre).scatter_(1, kept.indices, values)
        if kind == "abstopk":
            indices = pre.abs().topk(self.config.k, dim=1).indices
            return torch.zeros_like(pre).scatter_(1, indices, pre.gather(1, indices))
        if kind == "jumprelu":
            return torch.where(pre > self.threshold.to(x), pre.relu(), 0.0)
        if kind == "gated":
            value = self.value_scale.to(x) * (pre - bias) + self.value_bias.to(x)
            return torch.where(pre > 0, value.relu(), 0.0)
        return pre.relu()

    def _pursued(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the (n, n_units) codes of matching pursuit."""
        # The compiled kernels take a moment to import, and few dictionaries need them.
        from methods.sae.matching_pursuit_steps import CachedGram, Readers, pursue

        atoms = self.atoms.to(rows)
        self._cached_gram = (self._cached_gram or CachedGram()).of(atoms, self.atoms, weight)
        path = pursue(rows, atoms, self.config.k, self._cached_gram.matrix, readers=Readers(weight, bias))
        return rows.new_zeros(len(rows), len(weight)).scatter_add_(1, path.units, path.values)

    @in_float32
    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        output = super().decode(codes)
        if not self.decode_reads_input:
            return output
        assert x is not None  # checked before this call
        if self._scales_output:
            shift, scale = self._token_scale(x)
            output = output if scale is None else output * scale + shift
        return output + functional.linear(x, self.skip_weight.to(x)) if self.config.skip else output

    def _token_scale(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what is subtracted from each token (n, 1) and by what it is divided; None: neither."""
        zero = x.new_zeros(())
        if self.config.token_scale == "rms":
            return zero, x.norm(dim=1, keepdim=True) / x.shape[1] ** 0.5
        if self.config.token_scale == "layer_norm":
            return x.mean(1, keepdim=True), x.std(1, keepdim=True)
        return zero, None

    def as_trained_dictionary(self) -> TrainedDictionary:
        self.require_fitted()
        return self

    @property
    def input_width(self) -> int | None:
        return self.size_of("encoder_weight", 1)

    @classmethod
    def from_header(cls, header: dict[str, Any], path: Any, *, device: Device = "cpu") -> TrainedDictionary:
        """Return the dictionary in a file that a harness saved."""
        tensors: dict[str, Tensor] = {}
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                tensors[name] = file.get_tensor(name)
        dictionary = cls.of(cls.Config(**header["config"]), tensors)
        dictionary.notes = list(header.get("notes", []))
        return dictionary
