"""ELUDe: explicit, lossless, unsupervised disentanglement of every neuron of a linear layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from methods import register
from methods.additive import AdditiveSplit
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens, no_progress
from methods.divisible import DivisibleFit
from methods.elude.clustering import DEFAULT_MEMORY, Clustering, cluster
from methods.elude.contributions import Contributions, gather, summarise
from methods.elude.inputs import Inputs
from methods.elude.instances import top_instances
from methods.elude.lanes import plan_lanes, side_by_side
from methods.elude.objectives import Objective
from methods.elude.partial import partial_fit
from methods.elude.products import chosen_precision, precision_on
from methods.elude.reduction import UmapBackend, reduce_dimensions
from methods.elude.resume import Part, UnitFiles, build_key
from methods.elude.splitting import Scores, WinnerRule, split_by, unsplit
from methods.errors import UserError
from methods.interface import ADDED
from methods.number_types import Real, Whole


class ELUDeConfig(MethodConfig):
    """Settings of ELUDe; the defaults are the paper's (App. E.7)."""

    top_k: Whole | None = Field(
        None, ge=1, le=1_000_000_000, description="instances per neuron; None: use top_k_fraction"
    )
    top_k_fraction: Real = Field(0.15, gt=0, le=1, description="instances as a share of all probing tokens")
    min_cluster_size: Whole | None = Field(
        1000, ge=2, le=1_000_000_000, description="smallest cluster; None: use min_cluster_fraction"
    )
    min_cluster_fraction: Real = Field(0.0025, gt=0, le=1, description="smallest cluster, as a share of the instances")
    min_samples: Whole | None = Field(
        None, ge=1, le=1_000_000_000, description="HDBSCAN's min_samples; None: min_cluster_size"
    )
    cluster_selection_method: Literal["leaf", "eom"] = Field(
        "leaf", description="HDBSCAN's rule for selecting clusters"
    )
    winner_rule: WinnerRule = Field("unique", description="sub-units that win an input dimension")
    scores: Scores = Field("absolute", description="scores in eq. 3: |r|, or the positive part of r")
    objective: Objective = Field("contrast", description="objective that rho maximises")
    umap_dims: Whole | None = Field(
        None, ge=1, le=10_000, description="dimensions of a UMAP embedding to cluster instead"
    )
    umap_backend: UmapBackend = Field(
        "umap-learn",
        description="implementation of UMAP: umap-learn, on one thread of the CPU; cuml, on a GPU",
        json_schema_extra=ADDED,
    )
    backend: Literal["exact", "hdbscan", "cuml"] = Field("exact", description="implementation of HDBSCAN")

    @model_validator(mode="after")
    def _cluster_fits(self) -> ELUDeConfig:
        if self.top_k is not None and self.min_cluster_size is not None and self.min_cluster_size > self.top_k:
            raise ValueError(
                f"min_cluster_size = {self.min_cluster_size} is larger than top_k = {self.top_k}: no cluster could form"
            )
        if self.umap_backend != "umap-learn" and self.umap_dims is None:
            raise ValueError(
                f"umap_backend = {self.umap_backend!r} has no effect without umap_dims: set umap_dims, or leave "
                "umap_backend out"
            )
        return self


@register
class ELUDe(AdditiveSplit, DivisibleFit):
    """Split of each neuron by clustering the inputs that drive it (paper, section 3).

    For neuron u: take its ``top_k`` probing tokens by activation (ties to the lower index), form the contributions
    ``W_u * q``, L2-normalise, cluster them with HDBSCAN, and give every cluster a sub-unit with the input dimensions
    that its cluster wins. Neurons with fewer than two clusters are not split.

    Nothing is drawn at random and ``seed`` has no effect, unless ``umap_dims`` is set: it is then UMAP's seed, and the
    method no longer claims to be stable.
    """

    spec = MethodSpec(
        name="elude",
        title="ELUDe",
        family="split",
        reads="input",
        needs_weights=True,
        reference="Bagci, Schiele, Schaub-Meyer, Fischer, Hesse: Interpretability Without Tradeoffs",
        training_free=True,
        lossless=True,
        stable=True,
        uses_seed=False,
        # 2: a sub-unit without a share of an input has a weight of exactly zero there, where the last one of a neuron
        # had the rounding error of the others.
        version=2,
    )
    Config = ELUDeConfig

    #: Precision of the distances of the last fit, see :mod:`methods.elude.products`.
    _precision: str = "float32"
    fitted = (*AdditiveSplit.fitted, "margin", "n_noise", "n_instances")

    margin: Tensor
    """(d_out,) the chosen rho of each neuron, NaN if it was not split"""
    n_noise: Tensor
    """(d_out,) int64: instances that belong to no cluster"""
    n_instances: Tensor
    """() int64: number of instances per neuron"""

    @classmethod
    def spec_with(cls, config: MethodConfig) -> MethodSpec:
        """Return the claims for these settings: with UMAP the fit depends on its seed."""
        drawn = isinstance(config, ELUDeConfig) and config.umap_dims is not None
        return cls.spec._replace(stable=False, uses_seed=True) if drawn else cls.spec

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
        checkpoint_dir: str | Path | None = None,
        workers: int | None = None,
    ) -> ELUDe:
        """Split every neuron of the layer.

        Args:
            seed: seed of UMAP if ``umap_dims`` is set; otherwise without effect.
            device: device on which neurons are clustered; ``cuda`` without a number means all GPUs.
            progress: called with the number of finished neurons, including those of an earlier, interrupted fit.
            checkpoint_dir: folder in which finished neurons are kept until the fit is done. A fit with the same
                settings, weights and tokens that finds them there resumes from them, with the same result. None:
                :attr:`work_dir`, and if that is None nothing is kept.
            workers: number of neurons processed in parallel, see :func:`methods.elude.lanes.plan_lanes`. The result is
                the same for any number.

        Raises:
            UserError: for sizes that do not fit the probing set, or if a package that a setting needs is missing.
        """
        checkpoint_dir = self.work_dir if checkpoint_dir is None else checkpoint_dir
        parts, files = self._split(tokens, site, range(site.d_out), seed, device, progress, checkpoint_dir, workers)
        self._take([parts[unit] for unit in range(site.d_out)], self.sizes(tokens.n)[0])
        if files is not None:
            files.remove()
        return self.to(device)

    @classmethod
    def fit_items(cls, config: MethodConfig, site: LinearSite) -> int:
        """Return the number of neurons, each of which is split by itself."""
        return site.d_out

    def fit_part(
        self,
        tokens: Tokens,
        site: LinearSite,
        items: range,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> None:
        """Split a range of the neurons and leave them in :attr:`work_dir`; see :class:`methods.divisible.DivisibleFit`.

        Raises:
            UserError: as :meth:`fit`, and if :attr:`work_dir` is None.
        """
        if self.work_dir is None:
            raise UserError("elude.fit_part leaves its neurons in a folder: set work_dir before the call.")
        self._split(tokens, site, items, seed, device, progress, self.work_dir, None)

    def _split(
        self,
        tokens: Tokens,
        site: LinearSite,
        units: range,
        seed: int,
        device: Device,
        progress: Progress,
        checkpoint_dir: str | Path | None,
        workers: int | None,
    ) -> tuple[dict[int, Part], UnitFiles | None]:
        """Return the sub-units of these neurons, and the folder that holds them if there is one.

        Neurons that the folder holds already are read from it.
        """
        settings: ELUDeConfig = self.config
        top_k, min_cluster_size = self.sizes(tokens.n)
        # A wrong name is an error before anything is computed.
        precision = chosen_precision()
        if workers is not None and workers < 1:
            raise UserError(f"elude: workers = {workers}; it must be at least 1, or None.")
        # umap-learn's compiled code may not run in two threads at once; cuML's has not been tried.
        partial = partial_fit()
        # A neuron of full size has a CPU to itself, and a rehearsal of it too.
        is_alone = settings.umap_dims is not None or (partial is not None and torch.device(device).type == "cpu")
        n_lanes = 1 if is_alone else workers
        lanes = plan_lanes(device, n_lanes, unit_bytes(top_k, site.d_in))
        self._precision = precision_on(lanes[0], precision)
        files: UnitFiles | None = None
        parts: dict[int, Part] = {}
        if checkpoint_dir is not None:
            build = {"config": settings.model_dump(mode="json"), "version": self.spec.version, "seed": seed}
            files = UnitFiles(checkpoint_dir, build_key(tokens, site, {**build, "device": lanes[0].type}))
            parts = {unit: part for unit, part in files.read().items() if unit in units}
        weight, bias = site.weight.detach().cpu(), site.bias.detach().cpu()
        memory_bytes = distance_bytes(lanes)
        if partial is not None:
            parts |= partial.others(weight, bias, parts)
            memory_bytes = partial.distance_bytes(top_k, memory_bytes)

        missing = [unit for unit in units if unit not in parts]
        # A copy reads all inputs once: in vain if a resumed or divided fit has few neurons left to do.
        worthwhile = len(missing) * top_k >= tokens.n
        inputs = Inputs(tokens, lanes if worthwhile else [], lane_bytes(top_k, site.d_in, memory_bytes))

        def split_once(item: tuple[int, np.ndarray], lane: torch.device) -> tuple[int, Part]:
            unit, rows = item
            contributions = gather(inputs, rows, weight[unit], lane)
            clusters = self._clusters(contributions, min_cluster_size, seed, memory_bytes)
            return unit, self._part(weight[unit], bias[unit], contributions, clusters)

        def split_unit(item: tuple[int, np.ndarray], lane: torch.device) -> tuple[int, Part]:
            try:
                return split_once(item, lane)
            except (MemoryError, RuntimeError) as error:
                if not inputs.give_way(error, lane):
                    raise
            return split_once(item, lane)

        progress(len(parts), len(units), "neurons split")
        items = top_instances(tokens, top_k, units=missing)
        try:
            for unit, part in side_by_side(split_unit, items, lanes):
                parts[unit] = part
                if files is not None:
                    files.add(unit, part)
                progress(len(parts), len(units), "neurons split")
        finally:
            # Also if interrupted: finished neurons are kept.
            if files is not None:
                files.flush()
        return parts, files

    def _clusters(
        self, contributions: Contributions, min_cluster_size: int, seed: int, memory_bytes: int
    ) -> Clustering:
        settings: ELUDeConfig = self.config
        points, nonzero = contributions.directions, contributions.lengths != 0
        if settings.umap_dims is not None:
            points = reduce_dimensions(points[nonzero], settings.umap_dims, seed=seed, backend=settings.umap_backend)
        clusters = cluster(
            points,
            min_cluster_size=min_cluster_size,
            min_samples=settings.min_samples,
            selection=settings.cluster_selection_method,
            backend=settings.backend,
            memory_bytes=memory_bytes,
            products=chosen_precision(),
            zero_is_noise=settings.umap_dims is None,
        )
        if settings.umap_dims is None:
            return clusters
        # Rows without a direction were not passed to UMAP: they are noise, as without it.
        labels = torch.full_like(nonzero, -1, dtype=torch.int64)
        probabilities = torch.zeros_like(contributions.lengths)
        labels[nonzero] = clusters.labels.to(labels.device)
        probabilities[nonzero] = clusters.probabilities.to(labels.device)
        return replace(clusters, labels=labels, probabilities=probabilities)

    def _part(self, weight: Tensor, bias: Tensor, contributions: Contributions, clusters: Clustering) -> Part:
        settings: ELUDeConfig = self.config
        if clusters.n_clusters < 2:
            split = unsplit(weight, bias)
        else:
            summary = summarise(contributions, clusters.labels, clusters.probabilities, clusters.n_clusters)
            rules = settings.model_dump(include={"winner_rule", "scores", "objective"})
            split = split_by(weight, bias, summary, **rules)
        return Part(split.weights, split.biases, split.rho, clusters.n_noise)

    def _take(self, parts: list[Part], top_k: int) -> None:
        """Store one part per neuron, in neuron order."""
        self.margin = torch.tensor([part.rho for part in parts])
        self.n_noise = torch.tensor([part.n_noise for part in parts])
        self.n_instances = torch.tensor(top_k)
        self.assemble([part.weights for part in parts], [part.biases for part in parts])
        n_unsplit = int(self.margin.isnan().sum())
        self.notes = [f"{n_unsplit} of {len(parts)} neurons have fewer than two clusters and were left unsplit."]
        if self._precision != "float32" and self.config.backend == "exact":
            name = self._precision
            self.notes.append(
                f"Distances were computed in {name} if its errors are within their bound (a warning says if not), and "
                "again in float64 where that left doubt."
            )

    def sizes(self, n_tokens: int) -> tuple[int, int]:
        """Return (top_k, min_cluster_size) for a probing set of ``n_tokens`` tokens.

        Raises:
            UserError: if there are fewer than top_k tokens, or the smallest cluster exceeds top_k.
        """
        settings: ELUDeConfig = self.config
        top_k = settings.top_k or max(2, round(settings.top_k_fraction * n_tokens))
        if top_k > n_tokens:
            raise UserError(
                f"elude.top_k = {top_k}, but the probing set has {n_tokens} tokens: lower top_k, use top_k_fraction, "
                "or sample more tokens."
            )
        smallest = settings.min_cluster_size or max(2, round(settings.min_cluster_fraction * top_k))
        if smallest > top_k:
            raise UserError(
                f"elude.min_cluster_size = {smallest} is larger than the {top_k} instances per neuron: lower it, or "
                "set min_cluster_size to none and use min_cluster_fraction."
            )
        return top_k, smallest


def unit_bytes(top_k: int, d_in: int) -> int:
    """Return the memory of one neuron on a CPU: directions, at worst a centred copy of them, and a distance matrix."""
    return 2 * 4 * top_k * d_in + min(4 * top_k * top_k, DEFAULT_MEMORY)


def lane_bytes(top_k: int, d_in: int, memory_bytes: int) -> int:
    """Return the memory of one neuron on a GPU: directions, at worst a centred copy and its parts, and distances."""
    return 4 * 4 * top_k * d_in + memory_bytes


def distance_bytes(lanes: list[torch.device]) -> int:
    """Return bytes per lane for distances: the default; on a GPU its share of a quarter of free memory if larger."""
    if lanes[0].type != "cuda":
        return DEFAULT_MEMORY
    free = min(torch.cuda.mem_get_info(lane)[0] for lane in set(lanes))
    return max(DEFAULT_MEMORY, free // 4 // max(lanes.count(lane) for lane in lanes))
