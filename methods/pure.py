"""PURE: a neuron's activation is assigned to the circuit that most likely caused it (Dreyer et al. 2024)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from methods import register
from methods.base import Device, Dictionary, Learner, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.grouped import SubUnits
from methods.half_precision import in_float32
from methods.number_types import Whole
from methods.references import TokensByImage, by_size, kmeans_labels, reference_images

# Bytes of the distances that encode holds in addition to its result.
_MEMORY = 1 << 28


class PUREConfig(MethodConfig):
    """Settings of PURE."""

    reference_samples: Whole = Field(
        100, ge=1, le=1_000_000, description="strongest images per neuron, each at its strongest token"
    )
    clusters: Whole = Field(2, ge=1, le=5, description="circuits per neuron; the paper uses 2 to 5")
    n_init: Whole = Field(10, ge=1, le=10_000, description="number of starts of k-means")


@register
class PURE(Learner, SubUnits):
    """Clusters of each neuron's inputs; every token is gated to the nearest cluster's copy of the neuron.

    For neuron u and each of its reference samples the attribution to the layer's inputs is ``r = W_u * q``, divided by
    ``|r|_1``: what layer-wise relevance propagation gives for a linear layer with a positive activation. k-means on
    the attributions gives centroids ``r_(u,k)``. Then, for any token,

        k(q) = argmin_k |r(q) - r_(u,k)|_2,    code_(u,k) = a_u if k = k(q), else 0,    decode = sum over k.

    The sum is the layer's output for any centroids, since exactly one copy of a neuron carries it. Units are virtual:
    the active copy depends on the input, so no weights belong to a unit.

    Source: Dreyer, Purelku, Vielhaben, Samek, Lapuschkin, PURE: Turning Polysemantic Neurons Into Pure Features by
    Identifying Relevant Circuits, CVPR workshops 2024.

    Deviations from the original, with reasons, are listed in docs/relatives.md: attributions reach one layer back, to
    the linear map's own input; a reference image is represented by its strongest token; images on which the neuron is
    not positive are no references, so that a rare neuron has fewer, with fewer distinct ones than ``clusters`` fewer
    copies, and one that never fires is not split; tokens on which the neuron is negative are gated as well.
    """

    spec = MethodSpec(
        name="pure",
        title="PURE",
        family="virtual split",
        reads="input",
        needs_weights=True,
        reference="Dreyer, Purelku, Vielhaben, Samek, Lapuschkin 2024, PURE (CVPR workshops)",
        explicit=False,
        training_free=True,
        lossless=True,
        stable=True,
        virtual=True,
    )
    Config = PUREConfig
    fitted = ("weight", "bias", "centroids", "parent")

    weight: Tensor
    """(d_out, d_in) the layer's weight"""
    bias: Tensor
    """(d_out,)"""
    centroids: Tensor
    """(n_units, d_in): mean L1-normalised attribution of each circuit; zero for a neuron that never fires"""

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        config: PUREConfig = self.config
        weight = site.weight.detach().cpu()
        centroids: list[Tensor] = []
        silent = 0
        for references in reference_images(tokens, TokensByImage(tokens), config.reference_samples):
            rows = attributions(tokens.gather("input", references.row), weight[references.unit])
            rows = rows[rows.abs().sum(1) > 0]
            silent += not len(rows)
            centroids.append(circuits(rows, config.clusters, config.n_init, seed).to(weight.dtype))
            progress(references.unit + 1, site.d_out, "neurons clustered")
        self.weight, self.bias = weight.clone(), site.bias.detach().cpu().clone()
        self.centroids = self.join(centroids)
        whole = sum(len(rows) == 1 for rows in centroids) if config.clusters > 1 else 0
        self.notes = [
            f"{whole} of {site.d_out} neurons have one circuit only ({silent} never fire on the probing images)."
        ]

    @property
    def input_width(self) -> int | None:
        return self.size_of("weight", 1)

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        """Return (n, n_units): the neuron's activation in the copy whose circuit is nearest, 0 in its other copies."""
        self.require_fitted()
        weight, centroids, parent = self.weight.to(x), self.centroids.to(x), self.parent.to(x.device)
        activation = functional.linear(x, weight, self.bias.to(x))
        codes = x.new_zeros(len(x), len(centroids))
        if not len(x):
            return codes
        # |r - c|^2 up to terms that are the same for all copies: |c|^2 - 2 r.c, and r.c = q . (W_u * c) / |W_u * q|_1.
        scale = functional.linear(x.abs(), weight.abs())
        scale = torch.where(scale > 0, scale, 1.0)
        counts = torch.bincount(parent, minlength=len(weight))
        begin = counts.cumsum(0) - counts
        copies = torch.arange(int(counts.max()), device=x.device)
        block = max(1, _MEMORY // (4 * max(len(x), x.shape[1]) * len(copies)))
        for start in range(0, len(weight), block):
            neurons = slice(start, start + block)
            unit = begin[neurons, None] + torch.minimum(copies, counts[neurons, None] - 1)
            centre = centroids[unit]
            products = functional.linear(x, (centre * weight[neurons, None]).flatten(0, 1)).view(len(x), *unit.shape)
            distance = centre.square().sum(-1) - 2 * products / scale[:, neurons, None]
            # A neuron with fewer copies repeats its last one here, and the first of equal distances is taken.
            nearest = distance.argmin(-1, keepdim=True)
            winner = unit.expand(len(x), *unit.shape).gather(2, nearest)[..., 0]
            codes.scatter_(1, winner, activation[:, neurons])
        return codes

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        """Return (n, d_out): the sum over each neuron's copies."""
        self.require_fitted()
        return self.summed(codes, len(self.weight))

    def dictionary(self) -> Dictionary:
        """Return the centroids: the inputs of each circuit. They are attributions, not weights."""
        self.require_fitted()
        return Dictionary(self.centroids, self.parent, "reader")


def attributions(q: Tensor, weight_u: Tensor) -> Tensor:
    """Return (n, d_in) ``W_u * q / |W_u * q|_1`` in float64; zero if the contribution is zero."""
    contributions = q.cpu().double() * weight_u.double()
    return contributions / contributions.abs().sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def circuits(rows: Tensor, clusters: int, n_init: int, seed: int) -> Tensor:
    """Return centroids (K, d_in) of attributions (n, d_in), K at most ``clusters`` and the number of distinct rows.

    Largest cluster first. A single centroid of zeros if there are no rows.
    """
    if not len(rows):
        return rows.new_zeros(1, rows.shape[1])
    members = by_size(kmeans_labels(rows.numpy(), clusters, n_init, seed))
    return torch.stack([rows[torch.from_numpy(rows_of_cluster)].mean(0) for rows_of_cluster in members])
