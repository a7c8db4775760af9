"""DPCiCNN: a neuron that serves several classes, split into one sub-unit per class (Hesse et al. 2025)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from methods import register
from methods.base import Device, Learner, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.errors import UserError
from methods.grouped import LinearSubUnits
from methods.number_types import Real, Whole
from methods.references import TokensByImage, output_sums

#: Values of the factor that are tried, {0.05, 0.10, ..., 1.00}.
FACTORS = tuple(step / 20 for step in range(1, 21))

# Keeps the ratio finite for a sub-unit that is silent on the other class, as in the original.
_EPSILON = 1e-5
# Number of tokens read at once.
_ROWS = 16384


class DPCiCNNConfig(MethodConfig):
    """Settings of DPCiCNN."""

    tau: Real = Field(0.03, ge=0, le=1, description="share of the layer's activation that makes a neuron relevant")
    image_share: Real = Field(0.75, gt=0, le=1, description="share of a class's images on which it must be relevant")
    positions: Literal["all", "positive"] = Field(
        "all",
        description="tokens over which gradient times input is averaged: all, or those where the neuron is positive",
    )
    max_cosine: Real = Field(0.5, ge=-1, le=1, description="attributions with a smaller cosine are split")
    max_classes: Whole = Field(
        2, ge=2, le=100_000, description="largest number of classes into which a neuron is split"
    )
    min_images: Whole = Field(2, ge=1, le=100_000_000, description="classes with fewer images are ignored")


class ClassMeans(NamedTuple):
    """Means of one neuron over the tokens of each class's images."""

    inputs: Tensor
    """(K, d_in) float64: mean of q over the tokens that relevance is averaged over, those left out counting as zeros"""
    positive: Tensor
    """(K, d_in) float64: mean of q over tokens on which the neuron is positive, the others counting as zeros"""
    active: Tensor
    """(K,) float64: share of the tokens on which the neuron is positive"""
    classes: list[int]


class Rewired(NamedTuple):
    """One neuron's sub-units: one per class (K), then the shared one; a single row if the neuron is not split."""

    weights: Tensor
    """(K + 1, d_in) or (1, d_in)"""
    factor: float
    """the factor chosen; NaN if the neuron is not split"""


@register
class DPCiCNN(Learner, LinearSubUnits):
    """Neurons that are relevant for classes with different inputs, split by class, with a shared residual.

    A neuron is relevant for a class if on at least ``image_share`` of its images the neuron's share of the layer's
    positive activation, averaged over the image, is ``tau`` or more. Its average relevance vector for the class is
    ``r_k = W_u * mean(q)``, gradient times input averaged over all its tokens (``positions = "positive"``: over those
    on which the neuron is positive). The pair of relevant classes whose vectors have the smallest cosine is split if
    that cosine is below ``max_cosine``. Input j is class k's own for a factor f if ``f r_kj > max_{k' != k} r_k'j``;
    inputs that belong to no class are shared. With w_S the shared part of the weights,

        w_k = w_S + (W_u on k's own inputs),    w_shared = w_S,    a_u = sum_k code_k - (K - 1) code_shared,

    every sub-unit with the neuron's bias: merge signs +1, +1, -1 for a pair. f in {0.05, ..., 1.00} maximises the sum
    over classes of a sub-unit's activation on its class over the others' there, ties to the smallest.

    Source: Hesse, Fischer, Schaub-Meyer, Roth, Disentangling Polysemantic Channels in Convolutional Neural Networks,
    CVPR workshops 2025, and its code (visinf/disentangle-channels). docs/relatives.md lists every deviation and its
    reason: linear and 1x1 layers only; relevance of a neuron for a class is its share of the layer's activation;
    negative entries of r count as zero in the comparison; the contrast of a factor is that of class means over the
    tokens on which the neuron is positive; the pair is chosen by the method; ``max_classes`` above 2 adds further
    relevant classes, each below ``max_cosine`` to all before it, with signs +1, ..., +1, -(K - 1).
    """

    spec = MethodSpec(
        name="dpcicnn",
        title="DPCiCNN",
        family="split",
        reads="input",
        needs_weights=True,
        reference="Hesse, Fischer, Schaub-Meyer, Roth 2025, Disentangling Polysemantic Channels (CVPR workshops)",
        training_free=True,
        lossless=True,
        stable=True,
        supervised=True,
        uses_seed=False,
        # 2: relevance is averaged over all positions, as in the original, instead of the positive ones.
        version=2,
    )
    Config = DPCiCNNConfig
    fitted = ("weights", "biases", "parent", "signs", "classes", "factor")

    signs: Tensor
    """(n_units,) +1, and -(K - 1) for the shared sub-unit of K classes, which is the neuron's last one"""
    classes: Tensor
    """(n_units,) int64: class of each sub-unit, -1 for shared ones and neurons that are not split"""
    factor: Tensor
    """(d_out,) the chosen factor, NaN if the neuron is not split"""

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        """Split the neurons by class. Images without a label are left out.

        Raises:
            UserError: if no probing image has a label.
        """
        images = TokensByImage(tokens)
        if not bool((images.label >= 0).any()):
            raise UserError(
                "dpcicnn is supervised and needs the class of the probing images, but none has a label: use class "
                "folders (--dataset folder:PATH), or leave dpcicnn out."
            )
        relevant = self._relevant_classes(tokens, images)
        means = _means_by_class(tokens, images, relevant, site.d_in, progress)
        if self.config.positions == "positive":
            means = {unit: unit_means._replace(inputs=unit_means.positive) for unit, unit_means in means.items()}
        weight, bias = site.weight.detach().cpu(), site.bias.detach().cpu()
        units: list[Rewired] = []
        signs: list[float] = []
        classes: list[int] = []
        for unit in range(site.d_out):
            separable = self._separable(weight[unit], means[unit]) if unit in means else None
            unit_classes = separable.classes if separable is not None else []
            if separable is not None:
                units.append(rewire(weight[unit], float(bias[unit]), separable))
            else:
                units.append(Rewired(weight[unit][None].clone(), float("nan")))
            signs += [*[1.0] * len(unit_classes), 1.0 - len(unit_classes)]
            classes += [*unit_classes, -1]
        self.weights = self.join([unit.weights for unit in units])
        self.biases = bias[self.parent].clone()
        self.signs = torch.tensor(signs).to(weight.dtype)
        self.classes = torch.tensor(classes)
        self.factor = torch.tensor([unit.factor for unit in units])
        n_split = sum(len(unit.weights) > 1 for unit in units)
        n_relevant = sum(len(unit_means.classes) > 1 for unit_means in means.values())
        self.notes = [
            f"{n_split} of {site.d_out} neurons were split; {n_relevant} are relevant for two classes or more."
        ]

    def _relevant_classes(self, tokens: Tokens, images: TokensByImage) -> dict[int, np.ndarray]:
        """Return class -> (d_out,) bool: mask of the neurons that are relevant for it."""
        config: DPCiCNNConfig = self.config
        # Shares, not sums, are compared, so that the number of an image's tokens cancels out.
        share = output_sums(tokens, images.ordinal(), len(images), rectified=True)
        share /= share.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        passes = ((share >= config.tau) & (share > 0)).numpy()
        names, counts = np.unique(images.label[images.label >= 0], return_counts=True)
        return {
            name: passes[images.label == name].sum(0) >= config.image_share * count - 1e-9
            for name, count in zip(names.tolist(), counts.tolist(), strict=True)
            if count >= config.min_images
        }

    def _separable(self, weight_u: Tensor, means: ClassMeans) -> ClassMeans | None:
        """Return the means of the classes by which a neuron is split; None if no two are different enough."""
        config: DPCiCNNConfig = self.config
        if len(means.inputs) < 2:
            return None
        vectors = functional.normalize(weight_u.double() * means.inputs, dim=1)
        cosine = (vectors @ vectors.T).fill_diagonal_(torch.inf)
        # A class with no input to the neuron has no direction to compare.
        silent = vectors.norm(dim=1) == 0
        cosine[silent] = torch.inf
        cosine[:, silent] = torch.inf
        chosen = list(divmod(int(cosine.argmin()), len(cosine)))
        if not float(cosine.min()) < config.max_cosine:
            return None
        while len(chosen) < config.max_classes:
            nearest = cosine[:, chosen].max(1).values
            candidate = int(nearest.argmin())
            if not float(nearest[candidate]) < config.max_cosine:
                break
            chosen.append(candidate)
        chosen.sort()
        classes = [means.classes[k] for k in chosen]
        return ClassMeans(means.inputs[chosen], means.positive[chosen], means.active[chosen], classes)

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        """Merge the codes: sum the sub-units of each neuron, times their signs."""
        self.require_fitted()
        return self.summed(codes * self.signs.to(codes), len(self.factor))


def exclusive_inputs(relevance: Tensor, factor: float) -> Tensor:
    """Return a (K, d_in) mask of inputs that belong to one class: ``factor * r_kj > max_{k' != k} r_k'j``, r >= 0.

    ``relevance`` (K, d_in) are the average relevance vectors of K >= 2 classes.
    """
    positive = relevance.clamp_min(0)
    largest, first = positive.max(0)
    others = positive.topk(2, dim=0).values[1]
    return (factor * largest > others) & (torch.arange(len(positive))[:, None] == first)


def rewire(weight_u: Tensor, bias_u: float, means: ClassMeans) -> Rewired:
    """Return the sub-units of a neuron with weights (d_in,) for K >= 2 classes, with the factor of largest contrast."""
    weight = weight_u.double()
    relevance, positive = weight * means.inputs, weight * means.positive
    n_classes = len(relevance)
    best, best_exclusive, best_factor = -torch.inf, torch.zeros_like(relevance, dtype=torch.bool), FACTORS[0]
    for factor in FACTORS:
        exclusive = exclusive_inputs(relevance, factor)
        member = exclusive | ~exclusive.any(0)
        # (K, K): mean activation of sub-unit c on class k, over the tokens on which the neuron is positive.
        activation = (member.double() @ positive.T + bias_u * means.active).clamp_min(0)
        on_class = activation.diagonal()
        others = (activation.sum(0) - on_class) / (n_classes - 1)
        contrast = float((on_class / (others + _EPSILON)).sum())
        if contrast > best:
            best, best_exclusive, best_factor = contrast, exclusive, factor
    shared = ~best_exclusive.any(0)
    rows = torch.cat([(best_exclusive | shared).double(), shared[None].double()]) * weight
    return Rewired(rows.to(weight_u.dtype), best_factor)


def _means_by_class(
    tokens: Tokens, images: TokensByImage, relevant: dict[int, np.ndarray], d_in: int, progress: Progress
) -> dict[int, ClassMeans]:
    """Return neuron -> means of its relevant classes, for neurons with at least one."""
    collected: dict[int, list[tuple[int, Tensor, Tensor, Tensor]]] = {}
    label = np.repeat(images.label, images.size)
    for done, (name, mask) in enumerate(relevant.items()):
        units = np.flatnonzero(mask)
        rows = images.order[label == name]
        inputs = torch.zeros(d_in, dtype=torch.float64)
        positive = torch.zeros(len(units), d_in, dtype=torch.float64)
        active = torch.zeros(len(units), dtype=torch.float64)
        for start in range(0, len(rows) if len(units) else 0, _ROWS):
            piece = rows[start : start + _ROWS]
            is_positive = (tokens.gather("output", piece)[:, torch.from_numpy(units)] > 0).cpu()
            q = tokens.gather("input", piece).cpu().float()
            inputs += q.double().sum(0)
            # Sums are float32 within a block and float64 across blocks.
            positive += (is_positive.float().T @ q).double()
            active += is_positive.double().sum(0)
        for row, unit in enumerate(units.tolist()):
            means = inputs / len(rows), positive[row] / len(rows), active[row] / len(rows)
            collected.setdefault(unit, []).append((name, *means))
        progress(done + 1, len(relevant), "classes")
    columns = {unit: list(zip(*means, strict=True)) for unit, means in collected.items()}
    return {
        unit: ClassMeans(torch.stack(inputs), torch.stack(positive), torch.stack(active), list(names))
        for unit, (names, inputs, positive, active) in columns.items()
    }
