"""ELUDe: explicit, lossless, unsupervised disentanglement of every neuron of a linear layer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods import register
from methods.additive import AdditiveSplit
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens, no_progress
from methods.divisible import DivisibleFit
from methods.elude.clustering import DEFAULT_MEMORY, Clustering, cluster
from methods.elude.config import ELUDeConfig, Sizes
from methods.elude.contributions import Contributions, gather, summarise
from methods.elude.expansion import SizeSearch, distance, search
from methods.elude.inputs import Inputs
from methods.elude.instances import top_instances
from methods.elude.kept import SHARE, Budget, KeptClustering
from methods.elude.lanes import plan_lanes, side_by_side
from methods.elude.partial import partial_fit
from methods.elude.products import chosen_precision, precision_on
from methods.elude.reduction import reduce_dimensions
from methods.elude.resume import Part, UnitFiles, build_key
from methods.elude.splitting import split_by, unsplit
from methods.errors import UserError
from methods.memory import free_memory


@register
class ELUDe(AdditiveSplit, DivisibleFit):
    """Split of each neuron by clustering the inputs that drive it (paper, section 3).

    For neuron u: take its ``top_k`` probing tokens by activation (ties to the lower index), form the contributions
    ``W_u * q``, L2-normalise, cluster them with HDBSCAN, and give every cluster a sub-unit with the input dimensions
    that its cluster wins. Neurons with fewer than two clusters are not split.

    With ``target_expansion`` the size that gives it is searched first (App. E.6), see
    :mod:`methods.elude.expansion`. The fit is then that with the found size.

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
    #: Size that was found for ``target_expansion``; None without it.
    size_search: SizeSearch | None = None
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
        units = range(site.d_out)
        if self.config.target_expansion is not None:
            return self._fit_to_target(tokens, site, units, seed, device, progress, checkpoint_dir, workers)
        sizes = self.sizes(tokens.n)
        parts, files = self._split(tokens, site, units, sizes, seed, device, progress, checkpoint_dir, workers)
        self._take([parts[unit] for unit in units], sizes.top_k)
        if files is not None:
            files.remove()
        return self.to(device)

    def _fit_to_target(
        self,
        tokens: Tokens,
        site: LinearSite,
        units: range,
        seed: int,
        device: Device,
        progress: Progress,
        checkpoint_dir: str | Path | None,
        workers: int | None,
    ) -> ELUDe:
        """Fit with each size that the search tries, and take the closest; neurons of all trials are kept meanwhile."""
        settings: ELUDeConfig = self.config
        setting, target = settings.target_setting, settings.target_expansion
        assert target is not None
        start = self.sizes(tokens.n)
        budget = Budget(int(SHARE * (free_memory("cpu") or 0)))
        # Distances stay the same for other cluster sizes, not for other instances.
        kept = {unit: KeptClustering(budget, follows_size=settings.min_samples is None) for unit in units}
        closest: dict[str, Any] = {}
        folders: list[UnitFiles] = []

        def factor_of(value: int) -> float:
            sizes = start._replace(**{setting: value})
            folder = None if checkpoint_dir is None else Path(checkpoint_dir) / f"{setting}-{value}"

            def shown(done: int, total: int, what: str) -> None:
                progress(done, total, f"{what}, {setting} {value}")

            reused = kept if setting == "min_cluster_size" and settings.umap_dims is None else {}
            parts, files = self._split(tokens, site, units, sizes, seed, device, shown, folder, workers, reused)
            folders.extend([] if files is None else [files])
            factor = sum(len(part.weights) for part in parts.values()) / len(units)
            key = (distance(factor, target), value)
            if not closest or key < closest["key"]:
                closest.update(key=key, parts=parts, sizes=sizes)
            return factor

        low, high = (2, start.top_k // 2) if setting == "min_cluster_size" else (start.min_cluster_size, tokens.n)
        # A rehearsal clusters few neurons, so that its factor says nothing.
        tries = {"tries": 1} if partial_fit() is not None else {}
        self.size_search = search(
            factor_of,
            setting=setting,
            start=getattr(start, setting),
            low=low,
            high=max(low, high),
            target=target,
            **tries,
        )
        if self.size_search.factor == 1 and not tries:
            raise UserError(
                f"elude.target_expansion = {target:g}: no neuron splits with any {setting} that was tried, "
                f"{min(self.size_search.tried)} to {max(self.size_search.tried)}: use more probing tokens, or leave "
                "target_expansion out."
            )
        self._take([closest["parts"][unit] for unit in units], closest["sizes"].top_k)
        self.notes.append(self.size_search.note(target))
        for files in folders:
            files.remove()
        if checkpoint_dir is not None:
            with contextlib.suppress(OSError):
                Path(checkpoint_dir).rmdir()
        return self.to(device)

    def extra_state(self) -> dict[str, Any]:
        return {} if self.size_search is None else {"size_search": self.size_search.state}

    def restore_extra(self, extra: dict[str, Any]) -> None:
        self.size_search = SizeSearch.of(extra["size_search"]) if "size_search" in extra else None

    @classmethod
    def fit_items(cls, config: MethodConfig, site: LinearSite) -> int:
        """Return the number of neurons, each of which is split by itself; 1 if a size is searched with all of them."""
        return site.d_out if getattr(config, "target_expansion", None) is None else 1

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
        if self.config.target_expansion is not None:
            raise UserError(
                "elude.target_expansion needs the sub-units of all neurons, so that the fit cannot be divided: call "
                "fit, or set the size that an earlier fit has found."
            )
        self._split(tokens, site, items, self.sizes(tokens.n), seed, device, progress, self.work_dir, None)

    def _split(
        self,
        tokens: Tokens,
        site: LinearSite,
        units: range,
        sizes: Sizes,
        seed: int,
        device: Device,
        progress: Progress,
        checkpoint_dir: str | Path | None,
        workers: int | None,
        kept: Mapping[int, KeptClustering] | None = None,
    ) -> tuple[dict[int, Part], UnitFiles | None]:
        """Return the sub-units of these neurons, and the folder that holds them if there is one.

        Neurons that the folder holds already are read from it.
        """
        settings: ELUDeConfig = self.config
        top_k, min_cluster_size = sizes
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
            if settings.target_expansion is not None:
                build["sizes"] = list(sizes)
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
            contributions = gather(inputs, rows, weight[unit], lane, unit_length=settings.normalise)
            reused = None if kept is None else kept.get(unit)
            clusters = self._clusters(contributions, min_cluster_size, seed, memory_bytes, reused)
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
        self,
        contributions: Contributions,
        min_cluster_size: int,
        seed: int,
        memory_bytes: int,
        kept: KeptClustering | None,
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
            kept=kept,
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
            split = split_by(weight, bias, summary, **rules, margins=self._margins())
        return Part(split.weights, split.biases, split.rho, clusters.n_noise)

    def _margins(self) -> Sequence[float]:
        settings: ELUDeConfig = self.config
        return settings.rho_grid if settings.rho is None else (settings.rho,)

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

    def sizes(self, n_tokens: int) -> Sizes:
        """Return the sizes for a probing set of ``n_tokens`` tokens; with ``target_expansion``, where a search starts.

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
        return Sizes(top_k, smallest)


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
