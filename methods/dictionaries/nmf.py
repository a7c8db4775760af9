"""Semi-nonnegative matrix factorisation: non-negative codes, atoms of any sign."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.dictionaries.base import LinearDictionary, sample_tokens
from methods.number_types import Whole
from methods.training.normaliser import Normaliser


class NMFConfig(MethodConfig):
    """Settings of semi-NMF."""

    n_components: Whole | None = Field(None, ge=1, le=1_048_576, description="None: one per neuron")
    iterations: Whole = Field(100, ge=1, le=1_000_000, description="multiplicative updates of the fit")
    encode_iterations: Whole = Field(
        200, ge=1, le=1_000_000, description="steps of non-negative least squares for each code"
    )
    max_tokens: Whole = Field(
        8192, ge=2, le=1_000_000_000, description="largest number of tokens to fit on, drawn with the seed"
    )


@register
class SemiNMF(LinearDictionary):
    """``min |A - Z D|^2`` with Z >= 0 (Ding, Li and Jordan 2008), on centred tokens since activations are signed.

    The dictionary is learned by the overcomplete library. Codes are solved here: the library starts its codes from
    random numbers and applies its stopping rule per batch, so a token's codes would depend on the other tokens.
    """

    spec = MethodSpec(
        name="nmf",
        title="Semi-NMF",
        family="control",
        reads="output",
        reference="Ding, Li and Jordan 2008, Convex and semi-nonnegative matrix factorizations; overcomplete",
    )
    Config = NMFConfig

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        from overcomplete.optimization import SemiNMF as Module

        config: NMFConfig = self.config
        normalise = Normaliser(tokens, "output")
        rows = normalise(sample_tokens(tokens, config.max_tokens, seed)).to(device)
        # The library draws its first codes from the device's global generator.
        with torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else []):
            torch.manual_seed(seed)
            module = Module(config.n_components or site.d_out, device=str(device), tol=0.0)
            module.fit(rows, max_iter=config.iterations)
        self.atoms = (module.get_dictionary().detach() * normalise.scale).contiguous()
        self.output_bias = normalise.mean

    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        if x.dtype in (torch.float16, torch.bfloat16):
            # Each step builds on the previous one, so rounding errors accumulate.
            return self.encode(x.float()).to(x.dtype)
        return nonnegative_codes(x - self.output_bias.to(x), self.atoms.to(x), self.config.encode_iterations)


def nonnegative_codes(x: Tensor, atoms: Tensor, iterations: int) -> Tensor:
    """Return ``argmin_{z >= 0} |x - z @ atoms|^2`` for each row of x (n, d), by a fixed number of FISTA steps.

    The steps start from zero. Source: Beck and Teboulle 2009. The steps of a row do not depend on the other rows.
    """
    gram = atoms @ atoms.T
    products = x @ atoms.T
    largest = torch.linalg.eigvalsh(gram.double().cpu())[-1].to(x).clamp_min(1e-12)
    codes = torch.zeros_like(products)
    ahead, momentum = codes, 1.0
    for _ in range(iterations):
        following = torch.relu(ahead - (ahead @ gram - products) / largest)
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / next_momentum * (following - codes)
        codes, momentum = following, next_momentum
    return codes
