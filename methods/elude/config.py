"""Settings of ELUDe."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from methods.base import MethodConfig
from methods.elude.expansion import Searched
from methods.elude.objectives import Objective
from methods.elude.reduction import UmapBackend
from methods.elude.splitting import MARGINS, Scores, WinnerRule
from methods.interface import ADDED
from methods.number_types import Real, Whole

#: Value of rho.
Margin = Annotated[Real, Field(gt=0, le=1)]


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
    rho: Real | None = Field(
        None, gt=0, le=1, description="fixed margin; None: the best of rho_grid", json_schema_extra=ADDED
    )
    rho_grid: tuple[Margin, ...] = Field(
        MARGINS,
        min_length=1,
        max_length=1000,
        description="margins of which the best is chosen for each neuron",
        json_schema_extra=ADDED,
    )
    normalise: bool = Field(
        True, description="divide contributions by their length before clustering", json_schema_extra=ADDED
    )
    target_expansion: Real | None = Field(
        None,
        gt=1,
        le=100_000,
        description="wanted number of sub-units per neuron, for which a size is searched; None: sizes as given",
        json_schema_extra=ADDED,
    )
    target_setting: Searched = Field(
        "min_cluster_size", description="size that target_expansion searches", json_schema_extra=ADDED
    )

    @field_validator("rho_grid")
    @classmethod
    def _each_margin_once(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        """Return the margins ascending, each once: their order changes no fit, so it must not change a cell's id."""
        return tuple(sorted(set(values)))

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

    @model_validator(mode="after")
    def _margins_fit(self) -> ELUDeConfig:
        if self.rho is not None and self.rho_grid != MARGINS:
            raise ValueError(f"rho = {self.rho} and rho_grid = {self.rho_grid} both set the margins; give one of them")
        return self

    @model_validator(mode="after")
    def _target_fits(self) -> ELUDeConfig:
        if self.target_expansion is None and self.target_setting != "min_cluster_size":
            raise ValueError(
                f"target_setting = {self.target_setting!r} has no effect without target_expansion: set "
                "target_expansion, or leave target_setting out"
            )
        return self


class Sizes(NamedTuple):
    """Sizes of a fit: instances per neuron, and of them the smallest cluster."""

    top_k: int
    min_cluster_size: int
