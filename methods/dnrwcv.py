"""DNRwCV: a neuron's concepts as directions in the layer's output (O'Mahony et al. 2023)."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from methods import register
from methods.base import Device, Dictionary, Learner, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.grouped import SubUnits
from methods.half_precision import in_float32
from methods.number_types import Real, Whole
from methods.references import (
    Ranking,
    TokensByImage,
    by_size,
    counted_tokens,
    kmeans_labels,
    output_sums,
    reference_images,
)

# Relative eigenvalue of the directions' Gram matrix below which a dimension counts as not spanned.
_RANK_CUTOFF = 1e-10

# Mean cosine of the directions with their mean above which a note warns that they are almost identical.
_ALIKE = 0.9


class DNRwCVConfig(MethodConfig):
    """Settings of DNRwCV."""

    top_images: Whole = Field(100, ge=2, le=100_000, description="strongest images per neuron")
    ranking: Ranking = Field("mean", description="activation by which images are ranked: mean or maximum over tokens")
    distance_quantile: Real = Field(
        0.98, gt=0, le=1, description="clusters are cut at this quantile of the merge heights of all neurons"
    )
    n_init: Whole = Field(5, ge=1, le=10_000, description="number of starts of k-means")
    outlier_factor: Real = Field(
        2.0, gt=0, le=1e6, description="points farther from their centre than this many median distances are dropped"
    )
    min_cluster_size: Whole = Field(5, ge=1, le=100_000, description="clusters with fewer remaining images are dropped")
    centred: bool = Field(False, description="subtract the mean output of the probing tokens first")


@register
class DNRwCV(Learner, SubUnits):
    """Concept vectors: normalised means of the clusters of a neuron's strongest images, in the layer's output space.

    For neuron u: its ``top_images`` images by mean activation over the image's tokens (``ranking = "maximum"``: by the
    largest), each represented by the layer's output averaged over the same tokens; Ward's agglomeration cut at a
    distance threshold gives the number of clusters, k-means refines them; points far from their centre and then
    clusters of fewer than ``min_cluster_size`` images are dropped; the direction is ``v_(u,k) = mean / |mean|``. Codes
    are projections, ``code_(u,k) = <a, v_(u,k)>``.

    Source: O'Mahony, Andrearczyk, Müller, Graziani, Disentangling Neuron Representations with Concept Vectors, CVPR
    workshops 2023, and its code (lomahony/sw-interpretability). docs/relatives.md lists every deviation and its reason:
    the threshold is a quantile of the heights of all merges of all neurons; the average is over the tokens that the
    probing set kept, CLS and registers left out; images on which the neuron is nowhere positive are left out; a point
    is far if it is farther than ``outlier_factor`` times the cluster's median distance; a neuron without a remaining
    cluster keeps its own axis.

    ``centred`` is our addition: codes are then ``<a - mean, v_(u,k)>``. The original averages rectified activations. If
    the layer's output has a large mean of any sign instead, as between the blocks of a ViT, all cluster means have
    nearly the same direction, and so do all units.

    ``decode`` is the shortest output with the given projections: the original output itself if the directions span the
    layer, else its projection on their span. The harness does not use it because the method is virtual.
    """

    spec = MethodSpec(
        name="dnrwcv",
        title="DNRwCV",
        family="virtual split",
        reads="output",
        reference="O'Mahony, Andrearczyk, Müller, Graziani 2023, Disentangling Neuron Representations (CVPR workshops)",
        explicit=False,
        training_free=True,
        lossless=False,
        stable=True,
        virtual=True,
        # 2: images are ranked by their mean activation, as in the original, instead of by the maximum.
        version=2,
    )
    Config = DNRwCVConfig
    fitted = ("directions", "decoder", "origin", "parent")

    directions: Tensor
    """(n_units, d_out) unit rows"""
    decoder: Tensor
    """(n_units, d_out): pseudo-inverse of the projection"""
    origin: Tensor
    """(d_out,) vector subtracted from the output: zeros, or its mean"""

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        config: DNRwCVConfig = self.config
        images = TokensByImage(tokens)
        references = reference_images(tokens, images, config.top_images, ranking=config.ranking)
        strongest = [of_neuron.image for of_neuron in references]
        used = np.unique(np.concatenate(strongest))
        origin = mean_output(tokens) if config.centred else torch.zeros(site.d_out, dtype=torch.float64)
        means = image_means(tokens, images, used) - origin.numpy()
        points = [means[np.searchsorted(used, numbers)] for numbers in strongest]
        trees = []
        for unit, rows in enumerate(points):
            trees.append(ward(rows))
            progress(unit + 1, 2 * site.d_out, "neurons agglomerated")
        heights = np.concatenate([tree[:, 2] for tree in trees])
        threshold = float(np.quantile(heights, config.distance_quantile)) if len(heights) else 0.0
        axes, n_unclustered = np.eye(site.d_out), 0
        vectors: list[Tensor] = []
        for unit, (rows, tree) in enumerate(zip(points, trees, strict=True)):
            concepts = self._directions(rows, tree, threshold, seed)
            n_unclustered += not len(concepts)
            vectors.append(torch.from_numpy(concepts if len(concepts) else axes[unit : unit + 1]))
            progress(site.d_out + unit + 1, 2 * site.d_out, "neurons clustered")
        directions = self.join(vectors)
        decoder, rank = pseudo_inverse(directions)
        dtype = site.weight.dtype
        self.directions, self.decoder, self.origin = directions.to(dtype), decoder.to(dtype), origin.to(dtype)
        self.notes = [
            f"{n_unclustered} of {site.d_out} neurons have no cluster and keep their own axis.",
            f"The directions span {rank} of {site.d_out} dimensions.",
        ]
        mean_cosine = float((directions @ functional.normalize(directions.mean(0), dim=0)).mean())
        if mean_cosine > _ALIKE:
            self.notes.append(
                f"The directions have collapsed (mean cosine with their mean {mean_cosine:.3f}): a high MS "
                "score then means that each unit is of one kind, not that units differ; read unit_overlap and "
                "effective_rank beside it."
            )

    def _directions(self, points: np.ndarray, tree: np.ndarray, threshold: float, seed: int) -> np.ndarray:
        """Return (K, d_out) unit vectors of one neuron's images (m, d_out), largest cluster first; K = 0 if none."""
        from scipy.cluster.hierarchy import fcluster

        config: DNRwCVConfig = self.config
        number = int(fcluster(tree, threshold, "distance").max()) if len(tree) else 1
        vectors = []
        for members in by_size(kmeans_labels(points, number, config.n_init, seed)):
            cluster = points[members]
            distance = np.linalg.norm(cluster - cluster.mean(0), axis=1)
            # Images that coincide differ only by rounding, so none of them is far.
            near = cluster[distance <= config.outlier_factor * np.median(distance) + 1e-9 * np.abs(cluster).max()]
            mean = near.mean(0)
            length = float(np.linalg.norm(mean))
            if len(near) >= config.min_cluster_size and length > 0:
                vectors.append(mean / length)
        return np.array(vectors).reshape(len(vectors), points.shape[1])

    @property
    def input_width(self) -> int | None:
        return self.size_of("directions", 1)

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        return functional.linear(x - self.origin.to(x), self.directions.to(x))

    @in_float32
    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        self.require_fitted()
        return codes @ self.decoder.to(codes) + self.origin.to(codes)

    def dictionary(self) -> Dictionary:
        self.require_fitted()
        return Dictionary(self.directions, self.parent, "writer")


def image_means(tokens: Tokens, images: TokensByImage, chosen: np.ndarray) -> np.ndarray:
    """Return the (len(chosen), d_out) float64 mean output over the tokens of each chosen image, in one pass.

    Prefix tokens (CLS, registers) count only if an image has no others.
    """
    row = np.full(len(images), -1, dtype=np.int64)
    row[chosen] = np.arange(len(chosen))
    target = np.where(counted_tokens(tokens, images), row[images.ordinal()], -1)
    counts = np.bincount(target[target >= 0], minlength=len(chosen)).clip(1)
    return np.asarray(output_sums(tokens, target, len(chosen)).numpy() / counts[:, None])


def mean_output(tokens: Tokens) -> Tensor:
    """Return the (d_out,) float64 mean of the layer's output over all probing tokens."""
    total = torch.zeros(tokens.width("output"), dtype=torch.float64)
    for batch in tokens.batches("output", 65536):
        total += batch.cpu().double().sum(0)
    return total / max(1, tokens.n)


def ward(points: np.ndarray) -> np.ndarray:
    """Return (m - 1, 4) merges of points (m, d) by Ward's criterion in scipy's format; none for m < 2."""
    from scipy.cluster.hierarchy import linkage

    return np.asarray(linkage(points, "ward")) if len(points) > 1 else np.zeros((0, 4))


def pseudo_inverse(directions: Tensor) -> tuple[Tensor, int]:
    """Return ``V (V^T V)^+`` of V (n_units, d), which maps projections ``V a`` back to a, and the rank of V."""
    values, vectors = torch.linalg.eigh(directions.T @ directions)
    spanned = values > _RANK_CUTOFF * values[-1]
    inverse = (vectors[:, spanned] / values[spanned]) @ vectors[:, spanned].T
    return directions @ inverse, int(spanned.sum())
