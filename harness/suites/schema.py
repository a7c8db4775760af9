"""Typed sections of a suite: the settings that a suite file can have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, field_validator, model_validator

from harness.suites.entry_references import resolve_entry
from methods.number_types import Real

# Strict: "3" or true instead of 3 is a mistake in a suite file.
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
#: Upper limit of NumPy's generators.
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """Base class of all sections: unknown keys are rejected, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Seeds(Section):
    """Seeds; every method is run once per pair of token seed and init seed."""

    tokens: tuple[Seed, ...] = Field(
        (42,), min_length=1, max_length=10_000, description="seeds of the sampling of probing tokens"
    )
    init: tuple[Seed, ...] = Field(
        (42,), min_length=1, max_length=10_000, description="initialisation seeds of trained methods"
    )


class Data(Section):
    """Images, and their split into probing and evaluation."""

    dataset: str = Field(
        "photos", min_length=1, description="photos, imagenet, folder:PATH, or any registered data set"
    )
    evaluation: Whole | float = Field(100, gt=0, le=100_000_000, description="number or share of evaluation images")
    split_seed: Seed = 0
    evaluation_set: str | None = Field(
        None, min_length=1, description="data set to evaluate on, instead of a part of the images"
    )
    evaluation_sets: tuple[str, ...] = Field(
        (), max_length=100, description="further data sets on which the same fits are evaluated, each a part of the run"
    )

    @field_validator("evaluation", mode="before")
    @classmethod
    def _count_or_share(cls, value: Any) -> Any:
        if isinstance(value, bool | str):
            raise ValueError("should be a number of images, or a share below 1")
        if isinstance(value, float) and not (math.isfinite(value) and value < 1):
            raise ValueError("a share must be between 0 and 1, and a number of images must be whole")
        return value


class Probing(Section):
    """Crops and tokens of the probing images."""

    crops: Whole = Field(0, ge=0, le=10_000, description="random-resized crops per image; 0 uses the centre crop")
    tokens_per_image: Whole | None = Field(
        2, ge=1, le=1_000_000, description='tokens per crop; 0 or "all" keeps all tokens'
    )
    dtype: Literal["float32", "float16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _all(cls, values: Any) -> Any:
        count = values.get("tokens_per_image") if isinstance(values, Mapping) else None
        if count == "all" or (count == 0 and not isinstance(count, bool)):
            values = {**values, "tokens_per_image": None} if count is not None else values
        return values


class EvaluationSettings(Section):
    """Settings of the measurements on the evaluation split."""

    top_images: Whole = Field(100, ge=2, le=100_000, description="top images per unit, for the MS score")
    batch_size: Whole = Field(16, ge=1, le=65_536)
    metrics: tuple[str, ...] | None = Field(None, min_length=1, description="metric ids; default: all metrics")
    encoder: str | None = Field(
        None, min_length=1, description="backbone that embeds the images for ms_score_external; not the decomposed one"
    )

    @model_validator(mode="after")
    def _metrics_once(self) -> EvaluationSettings:
        if self.metrics is not None and len(set(self.metrics)) != len(self.metrics):
            raise ValueError("metrics contains an id twice")
        return self


class MethodEntry(Section):
    """Method with its settings: one row of the leaderboard."""

    name: str
    label: str | None = Field(None, description="name on the leaderboard; default: the method's title")
    config: dict[str, Any] = Field(default_factory=dict)
    select: Flag = Field(False, description="run the family's grid first and use the configuration selected by eq. 9")


class Target(Section):
    """Layer of a backbone."""

    backbone: str = Field(min_length=1)
    site: str | None = Field(None, min_length=1, description="module path; default: the backbone's default site")
    head: str | None = Field(None, description="own, probe, or any other head; default: own, if there is one, or probe")
    head_settings: dict[str, Any] = Field(default_factory=dict, description="settings of the head")
    checkpoint: str | None = None
    weights: Flag = True
    token_seeds: tuple[Seed, ...] | None = Field(
        None, min_length=1, max_length=10_000, description="instead of seeds.tokens"
    )
    methods: tuple[MethodEntry, ...] | None = Field(None, description="instead of the suite's methods")
    settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings by method name or label; override those of the method"
    )
    skip_unsuitable: Flag = Field(False, description="leave out methods that the site does not suit")

    @model_validator(mode="after")
    def _settings_have_head(self) -> Target:
        if self.head_settings and self.head is None:
            raise ValueError('head_settings needs a head: name it, as in head = "probe"')
        return self


class SweepSettings(Section):
    """Selection of a configuration for methods with ``select = true``."""

    grid: Literal["full", "few"] = Field("full", description="full: App. E.1; few: two configurations per family")
    choose: Literal["score", "target_l0"] = Field(
        "score", description="score: eq. 9; target_l0: best R2 near target_l0"
    )
    target_l0: Real = Field(20.0, ge=1e-6, le=1_048_576)


class Judging(Section):
    """Comparison of units of every pair of methods by judges."""

    panel: str = Field("proxy", description="proxy, vllm, openai, people, or any registered panel")
    pairs: Whole = Field(
        50, ge=1, le=1_000_000, description="unit pairs per method pair and token seed, each in both orders"
    )
    seed: Seed = Field(0, description="random seed of the drawn units")
    controls: Whole = Field(
        30, ge=0, le=1_000_000, description="grids compared with themselves, to measure position bias"
    )
    min_images: Whole = Field(9, ge=1, le=9, description="images on which a unit must be active to be drawn")
    style: Literal["plain", "outlined"] = Field("plain", description="outlined marks the token of the maximum")
    protocol: str = Field(
        "default", description="default (JSON schema, repeated if invalid) or paper (App. B.1: free text, not repeated)"
    )
    judges: tuple[dict[str, Any], ...] = Field((), description="judges; default: those of the panel")
    options: dict[str, Any] = Field(default_factory=dict, description="settings of the panel")


class StabilitySeeds(Section):
    """Repeated runs, for measuring the similarity of their units.

    On the first token seed of each target every method is run with each of these seeds. This includes methods that do
    not use a seed, so that the reproducibility of their results is measured.
    """

    init: tuple[Seed, ...] = Field(
        (42, 7, 1024), min_length=2, max_length=10_000, description="initialisation seeds of the repeated runs"
    )

    @model_validator(mode="after")
    def _seeds_once(self) -> StabilitySeeds:
        if len(set(self.init)) != len(self.init):
            raise ValueError("init contains a seed twice")
        return self


class Suite(Section):
    """Suite: targets and methods, or parts that are suites."""

    name: str = Field(min_length=1)
    description: str = ""
    seeds: Seeds = Seeds()
    data: Data = Data()
    probing: Probing = Probing()
    evaluation: EvaluationSettings = EvaluationSettings()
    sweep: SweepSettings = SweepSettings()
    targets: tuple[Target, ...] = ()
    methods: tuple[MethodEntry, ...] = ()
    judging: Judging | None = None
    stability: StabilitySeeds | None = None
    extra: dict[str, Any] = Field(default_factory=dict, description="sections registered by plugins, by name")
    parts: tuple[Suite, ...] = Field((), description="suites that are run in order, instead of targets")

    @model_validator(mode="after")
    def _something_to_run(self) -> Suite:
        if self.parts:
            if self.targets or self.methods:
                raise ValueError("a suite has either parts or targets and methods: move the targets into a part")
            return self
        if not self.targets:
            raise ValueError("targets is empty: a suite needs at least one [[targets]] with a backbone, or parts")
        for target in self.targets:
            entries = target.methods or self.methods
            if not entries:
                raise ValueError(f"the target {target.backbone} has no methods, and neither has the suite")
        return self

    def methods_of(self, target: Target) -> tuple[MethodEntry, ...]:
        """Return the methods of a target, with the target's settings applied and references to entries resolved.

        Raises:
            UserError: if a reference has no entry.
        """
        entries = self.entries_of(target)
        return tuple(resolve_entry(entry, entries) for entry in entries)

    def entries_of(self, target: Target) -> tuple[MethodEntry, ...]:
        """Return the methods of a target, with the target's settings applied and references as they are written."""
        entries = target.methods if target.methods is not None else self.methods
        if not target.settings:
            return entries
        return tuple(with_target_settings(entry, target.settings) for entry in entries)

    def token_seeds_of(self, target: Target) -> tuple[int, ...]:
        return target.token_seeds or self.seeds.tokens

    def init_seeds_of(self, target: Target, token_seed: int) -> tuple[int, ...]:
        """Return the init seeds of a token seed: those of the suite, and of ``stability`` for the first token seed."""
        return tuple(dict.fromkeys((*self.seeds.init, *self.repeats_of(target, token_seed))))

    def repeats_of(self, target: Target, token_seed: int) -> tuple[int, ...]:
        """Return the init seeds with which all methods are run for a token seed, whether they use a seed or not."""
        return self.stability.init if self.stability and token_seed == self.token_seeds_of(target)[0] else ()

    @property
    def most_cells(self) -> int:
        """Number of cells, as if all methods used the init seed and no two cells were equal; parts excluded."""
        return sum(
            len(target.methods if target.methods is not None else self.methods)
            * len(self.token_seeds_of(target))
            * (len(self.seeds.init) + (len(self.stability.init) if self.stability else 0))
            for target in self.targets
        )

    @property
    def leaves(self) -> tuple[Suite, ...]:
        """Return the parts that have no parts themselves, each once; the suite itself if it has no parts.

        A part with ``data.evaluation_sets`` is followed by a copy for each of these, without judges.
        """
        if not self.parts:
            return self._with_transfers()
        leaves: list[Suite] = []
        for part in self.parts:
            leaves += [leaf for leaf in part.leaves if leaf not in leaves]
        return tuple(leaves)

    def _with_transfers(self) -> tuple[Suite, ...]:
        if not self.data.evaluation_sets:
            return (self,)
        data = self.data.model_copy(update={"evaluation_sets": ()})
        return (
            self.model_copy(update={"data": data}),
            *(
                self.model_copy(
                    update={
                        "name": f"{self.name} on {_without_folder(name)}",
                        "data": data.model_copy(update={"evaluation_set": name}),
                        "judging": None,
                        "stability": None,
                    }
                )
                for name in dict.fromkeys(self.data.evaluation_sets)
            ),
        )


def _without_folder(spec: str) -> str:
    """Return a data set's spec with the last part of a path alone: names are stored, and paths are of one machine."""
    kind, colon, identifier = spec.partition(":")
    return f"{kind}{colon}{identifier.replace(chr(92), '/').rstrip('/').rpartition('/')[2]}"


def names_of(entry: MethodEntry) -> set[str]:
    """Return the names by which an entry can be referred to: name and label."""
    return {entry.name} | ({entry.label} if entry.label else set())


def with_target_settings(entry: MethodEntry, settings: Mapping[str, Mapping[str, Any]]) -> MethodEntry:
    """Return the entry with the settings of a target, given by method name or label."""
    changed = dict(entry.config)
    # The label is more specific than the name, so it is applied last.
    for key in dict.fromkeys((entry.name, entry.label)):
        changed.update(settings.get(key or "", {}))
    return entry if changed == entry.config else entry.model_copy(update={"config": changed})
