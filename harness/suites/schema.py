"""The sections of a suite, typed. What is written here is what a suite file may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, field_validator, model_validator

# A suite says 3, not "3" or true: what is nearly a number is a mistake in a file.
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
#: NumPy's generators take no larger ones.
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """Base class of all sections: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Seeds(Section):
    """Which seeds are run; every method is run once for each pair."""

    tokens: tuple[Seed, ...] = Field((42,), min_length=1, description="which tokens of the probing set are kept")
    init: tuple[Seed, ...] = Field((42,), min_length=1, description="initialisation of trained methods")


class Data(Section):
    """Which images, and how they are divided."""

    dataset: str = Field(
        "photos", min_length=1, description="photos, imagenet, folder:PATH, or any registered data set"
    )
    evaluation: Whole | float = Field(100, gt=0, description="images (or share of them) kept for evaluation")
    split_seed: Seed = 0

    @field_validator("evaluation", mode="before")
    @classmethod
    def _count_or_share(cls, wanted: Any) -> Any:
        if isinstance(wanted, bool | str):
            raise ValueError("should be a number of images or a share of them")
        if isinstance(wanted, float) and not (math.isfinite(wanted) and wanted < 1):
            raise ValueError("a share lies between 0 and 1, and a number of images has no decimal point")
        return wanted


class Probing(Section):
    """What is kept of the probing images."""

    crops: Whole = Field(0, ge=0, description="random-resized crops an image; 0 takes the centre crop")
    tokens_per_image: Whole | None = Field(2, ge=1, description='tokens kept of each crop; 0 or "all" keeps all')
    dtype: Literal["float32", "float16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _all(cls, values: Any) -> Any:
        kept = values.get("tokens_per_image") if isinstance(values, Mapping) else None
        if kept == "all" or (kept == 0 and not isinstance(kept, bool)):
            values = {**values, "tokens_per_image": None} if kept is not None else values
        return values


class EvaluationSettings(Section):
    """How the evaluation split is measured."""

    top_images: Whole = Field(100, ge=2, description="top images a unit, for the MS score")
    batch_size: Whole = Field(16, ge=1)
    metrics: tuple[str, ...] | None = Field(None, min_length=1, description="metric ids; left out: all of them")

    @model_validator(mode="after")
    def _metrics_once(self) -> EvaluationSettings:
        if self.metrics is not None and len(set(self.metrics)) != len(self.metrics):
            raise ValueError("metrics names one twice")
        return self


class MethodEntry(Section):
    """One row of the leaderboard: a method with its settings."""

    name: str
    label: str | None = Field(None, description="what the leaderboard calls it; left out: the method's title")
    config: dict[str, Any] = Field(default_factory=dict)
    select: Flag = Field(False, description="run the family's grid first and take the configuration eq. 9 picks")


class Target(Section):
    """One layer of one backbone."""

    backbone: str = Field(min_length=1)
    site: str | None = Field(None, min_length=1, description="module path; left out: the backbone's default")
    head: Literal["own", "probe"] | None = Field(None, description="left out: the backbone's own head if it has one")
    checkpoint: str | None = None
    weights: Flag = True
    token_seeds: tuple[Seed, ...] | None = Field(None, min_length=1, description="instead of seeds.tokens")
    methods: tuple[MethodEntry, ...] | None = Field(None, description="instead of the suite's methods")
    settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings at this target, by a method's name or label, over its own"
    )


class SweepSettings(Section):
    """How a configuration is selected for methods with ``select = true``."""

    grid: Literal["full", "few"] = Field("full", description="full: App. E.1; few: two configurations a family")
    choose: Literal["score", "target_l0"] = Field("score", description="score: eq. 9; target_l0: best R2 near an L0")
    target_l0: float = Field(20.0, gt=0, allow_inf_nan=False)


class Judging(Section):
    """How units of every pair of methods are compared by judges."""

    panel: str = Field("proxy", description="proxy, vllm, openai, or any registered panel")
    pairs: Whole = Field(50, ge=1, description="unit pairs per pair of methods and token seed; each is shown twice")
    seed: Seed = Field(0, description="which units are drawn")
    controls: Whole = Field(30, ge=0, description="grids shown against themselves, to see how even-handed a judge is")
    min_images: Whole = Field(9, ge=1, le=9, description="images a unit must be active on to be drawn")
    style: Literal["plain", "outlined"] = Field("plain", description="outlined marks the token of the maximum")
    judges: tuple[dict[str, Any], ...] = Field((), description="the judges; left out: the panel's own choice")
    options: dict[str, Any] = Field(default_factory=dict, description="settings of the kind of panel")


class StabilitySeeds(Section):
    """Runs that are repeated to see how alike their units are.

    On the first token seed of each target every method is run with each of these seeds, those that do not use a seed
    included: that they give the same result again is then measured.
    """

    init: tuple[Seed, ...] = Field((42, 7, 1024), min_length=2, description="initialisation seeds of the repeated runs")

    @model_validator(mode="after")
    def _seeds_once(self) -> StabilitySeeds:
        if len(set(self.init)) != len(self.init):
            raise ValueError("init names a seed twice")
        return self


class Suite(Section):
    """A whole suite: targets and methods, or parts that are suites themselves."""

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
    extra: dict[str, Any] = Field(default_factory=dict, description="sections that plugins registered, by name")
    parts: tuple[Suite, ...] = Field((), description="suites it is made of, instead of targets")

    @model_validator(mode="after")
    def _something_to_run(self) -> Suite:
        if self.parts:
            if self.targets or self.methods:
                raise ValueError("parts and targets exclude each other: put the targets into a part")
            return self
        if not self.targets:
            raise ValueError("targets is empty: a suite needs at least one [[targets]] with a backbone, or parts")
        for target in self.targets:
            entries = target.methods or self.methods
            if not entries:
                raise ValueError(f"the target {target.backbone} has no methods and neither has the suite")
        return self

    def methods_of(self, target: Target) -> tuple[MethodEntry, ...]:
        """The methods run on a target, with the target's own settings."""
        entries = target.methods if target.methods is not None else self.methods
        if not target.settings:
            return entries
        return tuple(_set(entry, target.settings) for entry in entries)

    def token_seeds_of(self, target: Target) -> tuple[int, ...]:
        return target.token_seeds or self.seeds.tokens

    def init_seeds_of(self, target: Target, token_seed: int) -> tuple[int, ...]:
        """Initialisation seeds on one token set: the suite's own, then those of ``stability`` on the first set."""
        return tuple(dict.fromkeys((*self.seeds.init, *self.repeats_of(target, token_seed))))

    def repeats_of(self, target: Target, token_seed: int) -> tuple[int, ...]:
        """Initialisation seeds with which every method is run on this token set, whether it uses them or not."""
        return self.stability.init if self.stability and token_seed == self.token_seeds_of(target)[0] else ()

    @property
    def leaves(self) -> tuple[Suite, ...]:
        """The suites without parts it is made of, each once; itself if it has no parts."""
        if not self.parts:
            return (self,)
        found: list[Suite] = []
        for part in self.parts:
            found += [leaf for leaf in part.leaves if leaf not in found]
        return tuple(found)


def names_of(entry: MethodEntry) -> set[str]:
    """What a method may be called: by name, or by its label."""
    return {entry.name} | ({entry.label} if entry.label else set())


def _set(entry: MethodEntry, settings: Mapping[str, Mapping[str, Any]]) -> MethodEntry:
    changed = dict(entry.config)
    # The label is the nearer name: it is applied last.
    for key in dict.fromkeys((entry.name, entry.label)):
        changed.update(settings.get(key or "", {}))
    return entry if changed == entry.config else entry.model_copy(update={"config": changed})
