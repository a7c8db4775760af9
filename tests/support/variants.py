"""Small settings of every method, with each of its options once: what holds must hold for all of them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args, get_origin

import methods
from harness.check.methods import small_settings

#: A value other than the default for settings whose values cannot be counted.
OTHERS: dict[str, Any] = {
    "auxk": 3,
    "auxk_tokens": 1,
    "auxk_weight": 1.0,
    "bandwidth": 0.5,
    "centred": True,
    "clusters": 3,
    "counts_of": {"name": "elude", "config": {"top_k": 120, "min_cluster_size": 15}},
    "dead_weight": 0.0,
    "delta": 0.0,
    "distance_quantile": 0.5,
    "encode_iterations": 3,
    "factors": (1.0, 3.0),
    "image_share": 0.3,
    "k": 2,
    "k_start": 12,
    "k_warmup": 0.5,
    "least_cosine": 1.0,
    "max_classes": 3,
    "max_cosine": 0.99,
    "max_tokens": 300,
    "min_cluster_fraction": 0.2,
    "min_samples": 3,
    "n_components": 4,
    "n_prefixes": 2,
    "normalise": False,
    "outlier_factor": 1.0,
    "prefix_exponent": 1.0,
    "parts": 2,
    "points": 30,
    "pre_bias": True,
    "prefixes": (0.3, 1.0),
    "remove_parallel_gradient": True,
    "sparsity": 0.5,
    "sparsity_warmup": 0.5,
    "sweeps": 1,
    "rho": 0.1,
    "rho_grid": (0.1, 0.15),
    "target_expansion": 2.5,
    "target_l0": 2.0,
    "tau": 0.3,
    "threshold_momentum": 0.0,
    "threshold_rate": 1.0,
    "top_k_fraction": 0.5,
    "umap_dims": 2,
    "weights": (1.0, 2.0, 3.0, 4.0, 5.0),
}
#: Of training and search: how far they go, not what a method consists of.
AMOUNTS = (
    "batch_size", "clip_norm", "epochs", "expansion_factor", "iterations", "l1_weight", "learning_rate",
    "max_iterations", "min_cluster_size", "min_images", "n_init", "reference_samples", "sparsity_weight", "tolerance",
    "top_images", "top_k", "warmup_fraction",
)  # fmt: skip
#: What one setting needs of others to have a say, in all families.
WITH_ALL: dict[str, dict[str, Any]] = {
    "auxk_tokens": {"auxk": 3},
    "auxk_weight": {"auxk": 3, "auxk_tokens": 1},
    "k_start": {"k_warmup": 0.5},
}
#: Settings that have no effect without one, and are refused alone.
ALONG: dict[str, dict[str, Any]] = {"auxk": {"auxk_tokens": 1}}
#: What one setting needs in one family.
WITH: dict[tuple[str, str], dict[str, Any]] = {
    ("elude", "min_cluster_fraction"): {"min_cluster_size": None},
    ("elude", "top_k_fraction"): {"top_k": None},
    ("elude", "target_setting"): {"target_expansion": 2.5},
    ("archetypal_sae", "sparsity"): {"k": None},
    ("dpcicnn", "max_classes"): {"tau": 0.0, "max_cosine": 0.99},
    ("dpcicnn", "max_cosine"): {"tau": 0.0},
    ("dpcicnn", "tau"): {"max_cosine": 0.99},
    ("dpcicnn", "positions"): {"tau": 0.0, "max_cosine": 0.99},
    ("dnrwcv", "ranking"): {"top_images": 20, "min_cluster_size": 5},
    ("dpcicnn", "image_share"): {"tau": 0.1, "max_cosine": 0.99},
    ("elude", "cluster_selection_method"): {"min_cluster_size": 4},
}
#: What one setting excludes.
INSTEAD_OF: dict[tuple[str, str], tuple[str, ...]] = {("random_split", "counts_of"): ("parts",)}
#: Another machine's, an extra's, or the same as the default on a CPU.
NOT_HERE = [("backend", "cuml"), ("umap_backend", "cuml"), ("umap_dims", 2), ("precision", "float32")]
#: Settings that a family inherits and refuses.
REFUSED = [("frozen_encoder_sae", setting) for setting in ("auxk", "auxk_tokens", "auxk_weight", "pre_bias")]
#: One step of everything is enough.
SHORT = {"epochs": 1, "iterations": 5, "encode_iterations": 10}


def built_in() -> list[str]:
    """Names of the methods that run on any layer: not planted layers' own, nor plugins that a test has loaded.

    `pretrained_sae` runs on the layer of its weights only, see tests/methods/pretrained.
    """
    names = [name for name in methods.names() if methods.METHODS.get(name).__module__.startswith("methods.")]
    return [name for name in names if name != "pretrained_sae"]


class Variant(NamedTuple):
    """One setting at another value."""

    what: str
    setting: str
    config: dict[str, Any]
    without: dict[str, Any]
    """the same but for the setting"""


def variants(name: str) -> list[Variant]:
    """Small settings as they are, then with each option at each other value."""
    cls = methods.METHODS.get(name)
    fields = cls.Config.model_fields
    small = {**small_settings(cls), **{setting: value for setting, value in SHORT.items() if setting in fields}}
    found = [Variant("as it is", "", small, small)]
    for setting, field in fields.items():
        if setting in AMOUNTS or (name, setting) in REFUSED:
            continue
        counted = get_origin(field.annotation) is Literal
        values = get_args(field.annotation) if counted else (OTHERS[setting],)
        for value in values:
            if value != field.default and (setting, value) not in NOT_HERE:
                rest = {**small, **WITH_ALL.get(setting, {}), **WITH.get((name, setting), {})}
                rest = {key: rest[key] for key in rest if key not in INSTEAD_OF.get((name, setting), ())}
                along = {**ALONG.get(setting, {}), setting: value}
                found.append(Variant(f"{setting} = {value}", setting, {**rest, **along}, rest))
    return found
