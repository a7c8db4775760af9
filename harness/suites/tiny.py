"""``--scale tiny``: the same suite, cell by cell, on packaged weights and a few photographs.

This tests that a suite runs. Every target, method, seed and selection of the suite uses the same code as at full size,
and distinct cells stay distinct. The resulting numbers have no meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.suites import Suite, Target, each_leaf, parse_suite
from methods import METHODS
from methods.registry import did_you_mean

#: Scale of ``harness run`` that is not a suite of its own (:mod:`harness.rehearsal`).
REHEARSAL = "rehearsal"
SCALES = ("tiny",)

#: 12 evaluation images, and 36 probing images with 48 tokens each: 1728 tokens, more than the units of the largest
#: archetypal SAE.
PHOTOGRAPHS, EVALUATION, TOKENS_PER_IMAGE = 48, 12, 48
DATASET = f"photos:{PHOTOGRAPHS}"
TOKENS = (PHOTOGRAPHS - EVALUATION) * TOKENS_PER_IMAGE

#: Backbone and module path.
_Layer = tuple[str, str | None]

DINO, LITE = "dinov2_small_saliency", "efficientnet_lite0"

#: Layer of a suite -> packaged layer that replaces it. Self-supervised ViTs are replaced by the packaged ViT, if
#: possible at the same block, at the attention projection: ELUDe needs a quarter of the time that it needs at the MLP,
#: which has four times as many inputs. Supervised networks with their own head (including a ViT) are replaced by the
#: packaged supervised network.
STAND_INS: dict[_Layer, tuple[str, str]] = {
    ("dinov2_vitb14", "blocks.9.mlp.fc2"): (DINO, "blocks.9.attn.proj"),
    ("dinov2_vitb14", "blocks.10.mlp.fc2"): (DINO, "blocks.10.attn.proj"),
    ("dinov2_vitb14", "blocks.11.mlp.fc2"): (DINO, "blocks.11.attn.proj"),
    ("dinov2_vits14", "blocks.11.mlp.fc2"): (DINO, "blocks.8.attn.proj"),
    ("dinov2_vitl14", "blocks.22.mlp.fc2"): (DINO, "blocks.7.attn.proj"),
    ("siglip2_base", None): (DINO, "blocks.6.attn.proj"),
    ("augreg_vit_base", "blocks.11.mlp.fc2"): (LITE, "blocks.5.3.conv_pwl"),
    ("convnextv2_base", "stages.3.blocks.2.mlp.fc2"): (LITE, "blocks.6.0.conv_pwl"),
}

_CHANGES = (
    "Training: 2 epochs, batches of 256, a quarter of the expansion factor; sweeps: two configurations per family.",
    "ELUDe: top_k and cluster sizes are reduced in order, so that different settings stay different.",
    "Judging: the proxy panel, two unit pairs per pair of methods and token seed.",
)

#: Replacements of all other layers, in order of their appearance; deepest first.
FREE = tuple((DINO, f"blocks.{number}.attn.proj") for number in range(11, -1, -1))


class Scaled(NamedTuple):
    """Suite at reduced size."""

    suite: Suite
    stand_ins: dict[_Layer, tuple[str, str]]
    """layer of the full suite -> packaged layer that replaces it"""

    def notices(self, other_images: str | None = None) -> list[str]:
        """Return what a user must know about the results, line by line; ``other_images`` replace the photographs."""
        images = (
            f"{DATASET}: {PHOTOGRAPHS - EVALUATION} photographs probed, {TOKENS_PER_IMAGE} tokens each, "
            f"and {EVALUATION} evaluated."
            if other_images is None
            else f"{other_images}: all of it, {TOKENS_PER_IMAGE} tokens each."
        )
        replacements = [
            f"{backbone} at {site or 'its default layer'}: replaced by {stand_in} at {stand_in_site}."
            for (backbone, site), (stand_in, stand_in_site) in self.stand_ins.items()
        ]
        return [
            "Scale tiny: this tests that everything runs; no number below means anything about a method.",
            *(f"  {sentence}" for sentence in (*replacements, images, *_CHANGES)),
        ]


def require_scale(scale: str) -> None:
    """Raise UserError if the scale is unknown."""
    if scale == REHEARSAL:
        raise UserError("--scale rehearsal: only harness run measures the time of a suite in this way.")
    if scale not in SCALES:
        hint = did_you_mean(scale, [*SCALES, REHEARSAL])
        raise UserError(f"--scale {scale}: {hint} Without it a suite runs at full size.")


def scaled(suite: Suite, scale: str) -> Scaled:
    """Return the suite at a scale; ``tiny`` is the only one.

    Raises:
        UserError: if the scale is unknown, or the suite has too many layers or planted layers.
    """
    require_scale(scale)
    targets = [target for leaf in suite.leaves for target in leaf.targets]
    if planted := next((target.backbone for target in targets if is_planted(target)), None):
        raise UserError(
            f"--scale {scale}: {suite.name} measures planted layers, such as {planted}, which cannot be replaced. "
            "Run the suite without --scale."
        )
    stand_ins = _stand_ins(targets)
    sizes = _sizes(suite)
    small = each_leaf(suite, lambda leaf: _tiny(leaf, stand_ins, sizes))
    if small.parts:
        small = small.model_copy(update={"name": f"{suite.name}-{scale}"})
    return Scaled(small, stand_ins)


def _stand_ins(targets: Sequence[Target]) -> dict[_Layer, tuple[str, str]]:
    replaced = dict.fromkeys((target.backbone, target.site) for target in targets if not _is_unchanged(target))
    unchanged = {(target.backbone, target.site) for target in targets if _is_unchanged(target)}
    stand_ins = {key: STAND_INS[key] for key in replaced if key in STAND_INS}
    free = [layer for layer in FREE if layer not in stand_ins.values() and layer not in unchanged]
    others = [key for key in replaced if key not in STAND_INS]
    if len(others) > len(free):
        raise UserError(f"--scale tiny supports {len(FREE)} layers, but the suite has more.")
    return stand_ins | dict(zip(others, free, strict=False))


def _is_unchanged(target: Target) -> bool:
    """Return True if the target is not replaced: packaged weights, a given checkpoint, or random weights."""
    from harness import backbones

    if target.checkpoint is not None or not target.weights:
        return True
    entry = backbones.BACKBONES.entries.get(target.backbone)
    source = backbones.BACKBONES.get(target.backbone) if entry else None
    return source is not None and not source.hub


def is_planted(target: Target) -> bool:
    """Return True if the layer is planted, so that its truth is only known for its images."""
    from harness.backbones import PREFIXES

    prefix, colon, _ = target.backbone.partition(":")
    return bool(colon) and prefix in PREFIXES and PREFIXES[prefix].built_from is not None


def _tiny(leaf: Suite, stand_ins: Mapping[_Layer, tuple[str, str]], sizes: _Sizes) -> Suite:
    values = leaf.model_dump()
    for target, target_values in zip(leaf.targets, values["targets"], strict=True):
        stand_in = stand_ins.get((target.backbone, target.site))
        if stand_in is not None:
            # EfficientNet has a head and the packaged ViT has none, whatever the head of the replaced backbone.
            head = "own" if stand_in[0] == LITE else "probe"
            target_values |= {"backbone": stand_in[0], "site": stand_in[1], "head": head, "head_settings": {}}
        target_values["methods"] = [
            {**entry.model_dump(), "config": _small(entry.name, entry.config, sizes)}
            for entry in leaf.entries_of(target)
        ]
        target_values["settings"] = {}
    judging = leaf.judging and {"panel": "proxy", "pairs": 2, "controls": 2, "min_images": 1, "seed": leaf.judging.seed}
    return parse_suite(
        {
            **values,
            "name": f"{leaf.name}-tiny",
            "methods": (),
            "extra": leaf.extra,
            "data": {"dataset": DATASET, "evaluation": EVALUATION, "split_seed": leaf.data.split_seed},
            "probing": {"crops": 0, "tokens_per_image": TOKENS_PER_IMAGE, "dtype": leaf.probing.dtype},
            "evaluation": {**values["evaluation"], "top_images": min(leaf.evaluation.top_images, 9), "batch_size": 8},
            "sweep": {**values["sweep"], "grid": "few"},
            "judging": judging,
        },
        source=f"{leaf.name} at scale tiny",
    )


_Sizes = dict[str, dict[Any, int]]

# Reduction of each setting that is a number of tokens. The order of a setting's values must be kept, so `_sizes` moves
# values apart that would become equal.
_SHRINK: dict[str, Callable[[int], int]] = {
    "top_k": lambda value: min(TOKENS, 30 + value // 5000),
    "min_cluster_size": lambda value: 2 + value // 200,
    "min_samples": lambda value: 1 + value // 100,
}


def _sizes(suite: Suite) -> _Sizes:
    """Return setting -> {value in the suite: reduced value}, in order and without collisions."""
    entries = [entry for leaf in suite.leaves for target in leaf.targets for entry in leaf.methods_of(target)]
    pairs: list[tuple[str, Mapping[str, Any]]] = [(entry.name, entry.config) for entry in entries]
    pairs += [nested for entry in entries for nested in nested_methods(entry.config).values()]
    configs = [_with_defaults(name, config) for name, config in pairs]
    sizes: _Sizes = {}
    for key, shrink in _SHRINK.items():
        small: dict[Any, int] = {}
        last = 0
        for value in sorted({config[key] for config in configs if isinstance(config.get(key), int)}):
            last = small[value] = max(shrink(value), last + 1)
        sizes[key] = small
    return sizes


def _with_defaults(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    fields = METHODS.get(name).Config.model_fields
    return {**{key: field.default for key, field in fields.items()}, **config}


def nested_methods(config: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return the settings that are another method (:class:`methods.method_reference.MethodReference`)."""
    return {
        key: (value["name"], value.get("config", {}))
        for key, value in config.items()
        if isinstance(value, Mapping) and "name" in value and set(value) <= {"name", "config"}
    }


def _small(name: str, config: Mapping[str, Any], sizes: _Sizes) -> dict[str, Any]:
    fields = METHODS.get(name).Config.model_fields
    full = _with_defaults(name, config)
    small = dict(config)
    # A plugin's setting of the same name may have another meaning or no default.
    for key, most in (("epochs", 2), ("batch_size", 256)):
        if key in fields and isinstance(full[key], int):
            small[key] = min(most, full[key])
    if "expansion_factor" in fields and isinstance(full["expansion_factor"], int | float):
        small["expansion_factor"] = full["expansion_factor"] / 4
    for key, values in sizes.items():
        if key in fields and isinstance(full[key], int) and full[key] in values:
            small[key] = values[full[key]]
    # At this size UMAP takes seconds on a CPU, and needs no GPU.
    if small.get("umap_backend") == "cuml":
        small["umap_backend"] = "umap-learn"
    for key, (inner, values_of) in nested_methods(config).items():
        small[key] = {"name": inner, "config": _small(inner, values_of, sizes)}
    return small
