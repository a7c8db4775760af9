"""Planning of a suite's cells: loading of backbones and images, and the identity of each unit of work."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import backbones, datasets
from harness.activations.external_images import default_encoder
from harness.activations.heads import HEADS
from harness.activations.heads.base import HeadKind
from harness.activations.offers import Offer, declared
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.activations.sites import linear_paths, open_site
from harness.backbones.base import Backbone
from harness.cells.suitability import suitable_entries
from harness.datasets.base import DatasetSplit, ImageSet
from harness.datasets.loading import require_readable
from harness.datasets.seen_classes import require_seen_classes
from harness.datasets.transfer import first_evaluation, transferred
from harness.errors import UserError
from harness.identity import digest
from harness.metrics.base import METRICS, Metric
from harness.suites import MethodEntry, Suite, Target
from methods import METHODS
from methods.base import Method, MethodConfig, MethodSpec, make_config
from methods.file_settings import files_of, plain_config
from methods.fingerprints import fingerprint_problem
from methods.plugin_calls import calling
from methods.plugin_files import plugin_source

#: Part of every cell's identity: increased when the meaning of a cell changes as a whole.
CELL_VERSION = 1

#: Part of every fit's identity: increased when the meaning of a fit changes as a whole.
FIT_VERSION = 1


@dataclass(frozen=True)
class PreparedTarget:
    """Layer of a loaded backbone, with the images split into probing and evaluation sets."""

    target: Target
    backbone: Backbone
    site: Site
    probing: ImageSet
    evaluation: ImageSet
    dataset: str
    head: HeadKind
    first_evaluation: ImageSet | None = None
    """evaluation images of the set of the probing images, if ``evaluation`` is of a further set"""

    @property
    def title(self) -> str:
        return f"{self.backbone.title} at {self.site.path}"

    @property
    def split(self) -> DatasetSplit:
        """Probing and evaluation images."""
        return DatasetSplit(self.probing, self.evaluation)

    def head_identity(self) -> dict[str, Any]:
        return self.head.identity()

    def evaluation_identity(self) -> dict[str, Any]:
        return {**self.backbone.identity(), "images": self.evaluation.fingerprint, "head": self.head_identity()}


@dataclass(frozen=True)
class Cell:
    """Unit of work: one method with one configuration and seeds on one target."""

    prepared: PreparedTarget
    entry: MethodEntry
    method: type[Method]
    config: MethodConfig
    plan: ProbingPlan
    init_seed: int
    metrics: tuple[type[Metric], ...]
    top_images: int
    encoder: str | None = None
    """backbone that embeds the evaluation images, if a metric reads such embeddings"""

    @property
    def label(self) -> str:
        return self.entry.label or self.spec.title

    @functools.cached_property
    def spec(self) -> MethodSpec:
        """Properties of the method under its configuration."""
        return self.method.spec_with(self.config)

    @functools.cached_property
    def offers(self) -> frozenset[str]:
        """Names of what the fit reads beside tokens and layer, that of the fit it needs included."""
        specs, needed = [self.spec, self.method.spec], self.method.prerequisite(self.config)
        while needed is not None:
            specs += [needed.method.spec, needed.method.spec_with(needed.config)]
            needed = needed.method.prerequisite(needed.config)
        return declared(*specs)

    @property
    def offer(self) -> Offer:
        """Images and network from which the tokens of the fit come."""
        return Offer(self.prepared.probing, self.plan.crops, self.prepared.backbone)

    def _names_identity(self) -> dict[str, Any]:
        """Return the class names if the fit reads them: the identity of the images has the labels alone."""
        if "reads_class_names" not in self.offers:
            return {}
        return {"class_names": digest(list(self.prepared.probing.classes))}

    def _hierarchy_identity(self) -> dict[str, Any]:
        """Return the class hierarchy if a metric reads it: the identity of the images is without it."""
        hierarchy = self.prepared.evaluation.class_hierarchy
        if hierarchy is None or not any(metric.needs_hierarchy for metric in self.metrics):
            return {}
        return {"class_hierarchy": hierarchy.fingerprint}

    def _first_set_identity(self) -> dict[str, Any]:
        """Return the evaluation images of the set of the fit if a metric reads them beside those of a further set."""
        first = self.prepared.first_evaluation
        if first is None or not any(metric.needs_first_set for metric in self.metrics):
            return {}
        return {"first_evaluation": first.fingerprint}

    @property
    def probing_identity(self) -> dict[str, Any]:
        """Images and sampling plan of the probing set, without the token seed."""
        return probing_identity(self.prepared.probing, self.plan)

    @functools.cached_property
    def method_identity(self) -> dict[str, Any]:
        """Method, version and configuration. Rows with different method identities are never averaged.

        The content of files that settings name is that of the first access: :meth:`require_same_files` compares it with
        the present one.
        """
        return _method_identity(self.method, self.config)

    def require_same_files(self) -> None:
        """Check that the files that the method reads are those that the cell was planned with.

        Raises:
            UserError: if one of them has changed since, so that the fit is not what the cell's id says.
        """
        if _method_identity(self.method, self.config) == self.method_identity:
            return
        files = ", ".join(repr(str(path)) for path in files_of(self.config).values())
        raise UserError(
            f"What {self.method.spec.name} reads has changed since the run was planned "
            f"({files or 'its fingerprint() gives another value'}): run again to compute "
            "the cell of the new content."
        )

    @property
    def config_id(self) -> str:
        """Key of a method and configuration, by which the leaderboard averages over seeds."""
        return digest({"cell": CELL_VERSION, **self.method_identity})

    @property
    def identity(self) -> dict[str, Any]:
        """Complete canonical configuration. Its content must not change for existing cells."""
        return {
            "cell": CELL_VERSION,
            "backbone": self.prepared.backbone.name,
            **self.prepared.site.identity(),
            "evaluation": {**self.prepared.evaluation_identity(), "top_images": self.top_images},
            "probing": self.probing_identity,
            **self._names_identity(),
            "token_seed": self.plan.seed,
            "method": self.method_identity,
            "init_seed": self.init_seed,
            "metrics": {metric.id: _version(metric.version, metric) for metric in self.metrics},
            **({} if self.encoder is None else {"encoder": self.encoder}),
            **self._hierarchy_identity(),
            **self._first_set_identity(),
        }

    @property
    def cell_id(self) -> str:
        return digest(self.identity)

    @property
    def fit_identity(self) -> dict[str, Any]:
        """Everything the fitted method depends on, and nothing else: cells that differ in evaluation share a fit."""
        return {
            "fit": FIT_VERSION,
            **self.prepared.backbone.identity(),
            **self.prepared.site.identity(),
            "probing": self.probing_identity,
            **self._names_identity(),
            "token_seed": self.plan.seed,
            "method": self.method_identity,
            "init_seed": self.init_seed,
        }

    @property
    def fit_id(self) -> str:
        return digest(self.fit_identity)

    @property
    def fit_group(self) -> str:
        """Key of the cells that need one fit, as theirs or as a prerequisite of theirs: one run computes all of them.

        A method without a seed has one fit for all init seeds.
        """
        needed = self.prerequisite()
        if needed is not None:
            return needed.fit_group
        uses_seed = self.method.spec_with(self.config).uses_seed
        return digest({**self.fit_identity, "init_seed": self.init_seed if uses_seed else None})

    def needs_fit_of(self, other: Cell) -> bool:
        """Return whether this cell can load the fit of another one, or its prerequisite from there."""
        if self.fit_id == other.fit_id:
            return True
        is_prerequisite = self.prerequisite() is not None and other.prerequisite() is None
        return is_prerequisite and self.fit_group == other.fit_group

    def prerequisite(self, init_seed: int | None = None) -> Cell | None:
        """Return the cell of the method whose fit this cell's fit needs, with the same seeds or another init seed."""
        needed = self.method.prerequisite(self.config)
        if needed is None:
            return None
        entry = MethodEntry(name=needed.method.spec.name, config=needed.config.model_dump(mode="json"))
        seed = self.init_seed if init_seed is None else init_seed
        return replace(self, entry=entry, method=needed.method, config=needed.config, init_seed=seed)


def probing_identity(images: ImageSet, plan: ProbingPlan) -> dict[str, Any]:
    """Return the identity of probing images and the sampling of their tokens, without the token seed."""
    return {"images": images.fingerprint, **{key: value for key, value in plan._asdict().items() if key != "seed"}}


def prepare(suite: Suite, *, device: str) -> list[PreparedTarget]:
    """Load the backbones and images of a suite, and check that every site exists and its tokens have positions.

    Raises:
        UserError: if anything is missing, before anything is computed.
    """
    images, split = load_images(suite)
    first = None
    if suite.data.evaluation_set is not None:
        with calling(datasets.DATASETS, _set_name(suite)):
            first = first_evaluation(images, suite.data.evaluation, seed=suite.data.split_seed)
    prepared = []
    # Several layers of one backbone share its weights.
    load = functools.cache(functools.partial(backbones.load, device=device))
    for target in suite.targets:
        backbone = load(target.backbone, checkpoint=target.checkpoint, weights=target.weights)
        with calling(backbones.BACKBONES, target.backbone):
            prepared.append(_prepared(target, backbone, images, split, first))
    with calling(datasets.DATASETS, _set_name(suite)):
        for part in split:
            part.contents  # noqa: B018 - read here, where an error of the image set is named
    return prepared


def load_images(suite: Suite) -> tuple[ImageSet, DatasetSplit]:
    """Return the images of a suite, and their split into probing and evaluation.

    Raises:
        UserError: if there are none, they cannot be split, or cannot be read.
    """
    images = datasets.load(suite.data.dataset)
    with calling(datasets.DATASETS, _set_name(suite)):
        split = images.split(evaluation=suite.data.evaluation, seed=suite.data.split_seed)
    if (other := suite.data.evaluation_set) is not None:
        with calling(datasets.DATASETS, other.partition(":")[0]):
            evaluation = transferred(
                datasets.load(other), split.probing, suite.data.evaluation, seed=suite.data.split_seed
            )
        split = DatasetSplit(split.probing, evaluation)
    with calling(datasets.DATASETS, _set_name(suite)):
        for part in split:
            require_readable(part)
    return images, split


def _set_name(suite: Suite) -> str:
    return suite.data.dataset.partition(":")[0]


def open_target(target: Target, backbone: Backbone) -> Site:
    """Return the layer of a target, in its loaded backbone.

    Raises:
        UserError: if the target names no layer and the backbone has no default one, or there is no such layer.
    """
    path = target.site or backbone.default_site
    if path is None:
        paths = ", ".join(linear_paths(backbone.model)[-5:])
        raise UserError(f"{target.backbone} has no default layer: give --site PATH; the last ones are {paths}.")
    return open_site(backbone, path)


def _prepared(
    target: Target, backbone: Backbone, images: ImageSet, split: DatasetSplit, first: ImageSet | None
) -> PreparedTarget:
    site = open_target(target, backbone)
    kind = HEADS.get(target.head or ("own" if backbone.n_classes is not None else "probe"))
    head = kind(backbone, split.probing, images.name, target.head_settings)
    head.check()
    if kind.fitted:
        require_seen_classes(split)
    return PreparedTarget(target, backbone, site, split.probing, split.evaluation, split.evaluation.name, head, first)


def cells_of(suite: Suite, prepared: Sequence[PreparedTarget]) -> list[Cell]:
    """Return all cells of a suite: per target, seeds outermost, so that the first complete leaderboard comes early.

    Raises:
        UserError: for an unknown method, setting or metric, or a method that the site does not suit.
    """
    wanted = suite.evaluation.metrics
    metrics = tuple(_metrics(METRICS.names() if wanted is None else wanted, only_default=wanted is None))
    cells = []
    for target in prepared:
        top_images = min(suite.evaluation.top_images, len(target.evaluation))
        entries = suitable_entries(suite, target)
        encoder = encoder_of(suite, target.target.backbone) if any(m.needs_encoder for m in metrics) else None
        for token_seed in suite.token_seeds_of(target.target):
            probing = suite.probing
            plan = ProbingPlan(probing.crops, probing.tokens_per_image, probing.dtype, token_seed)
            repeats = suite.repeats_of(target.target, token_seed)
            for number, init_seed in enumerate(suite.init_seeds_of(target.target, token_seed)):
                for entry in entries:
                    method = METHODS.get(entry.name)
                    with calling(METHODS, entry.name):
                        config = make_config(method, entry.config)
                        cell = Cell(target, entry, method, config, plan, init_seed, metrics, top_images, encoder)
                        if number and not cell.spec.uses_seed and init_seed not in repeats:
                            continue
                        # Code of the method runs here, where an error of it is named.
                        cell.label, cell.cell_id  # noqa: B018
                        cells.append(cell)
    # A suite may list the same configuration twice.
    return list({cell.cell_id: cell for cell in cells}.values())


def encoder_of(suite: Suite, backbone: str) -> str:
    """Return the backbone that embeds the evaluation images of a layer of ``backbone``.

    Raises:
        UserError: if the suite names the backbone itself.
    """
    encoder = suite.evaluation.encoder or default_encoder(backbone)
    if encoder == backbone:
        raise UserError(
            f"evaluation.encoder = {encoder!r} is the backbone that is decomposed: name another one "
            "(`harness list backbones`), or leave it out."
        )
    return encoder


def _metrics(names: Sequence[str], *, only_default: bool) -> Iterator[type[Metric]]:
    for name in names:
        metric = METRICS.get(name)
        with calling(METRICS, name):
            if metric.default or not only_default:
                digest([metric.id, metric.version])
                yield metric


def _method_identity(method: type[Method], config: MethodConfig) -> dict[str, Any]:
    """Return name, version and configuration of a method, and those of the method whose fit it needs, if any."""
    identity: dict[str, Any] = {
        "name": method.spec.name,
        "version": _version(method.spec.version, method),
        "config": plain_config(config),
    }
    if method.fingerprint is not Method.fingerprint:
        fingerprint = method(config).fingerprint()
        if problem := fingerprint_problem(fingerprint):
            raise UserError(f"{method.spec.name}.fingerprint() returns {problem}")
        if fingerprint is not None:
            identity["fingerprint"] = fingerprint
    needed = method.prerequisite(config)
    return identity if needed is None else {**identity, "prerequisite": _method_identity(*needed)}


def _version(version: int, target: Any) -> int | str:
    """Return the version, with the file's hash for a plugin file's object: an edited plugin is run again."""
    source = plugin_source(target)
    return version if source is None else f"{version}+{source}"
