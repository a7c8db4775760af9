"""``--scale tiny``: the same suite, cell by cell, on embedded weights and a few photographs.

It proves the plumbing, not the science: every target, method, seed and selection of the suite is there and goes through
the same code, distinct cells stay distinct, and no number means anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.suites import Suite, Target, each_leaf, parse_suite
from methods import METHODS
from methods.registry import did_you_mean

SCALES = ("tiny",)

#: 12 of them are evaluated, of 36 are 48 tokens each probed: 1728, more than the units of the largest archetypal SAE.
PHOTOGRAPHS, EVALUATION, TOKENS_PER_IMAGE = 48, 12, 48
DATASET = f"photos:{PHOTOGRAPHS}"
TOKENS = (PHOTOGRAPHS - EVALUATION) * TOKENS_PER_IMAGE

DINO, LITE = "dinov2_small_saliency", "efficientnet_lite0"

#: Which layer stands in for which. For the ViTs stands the ViT, in the same block where it can, at the projection of
#: its attention: ELUDe needs a quarter of the time of the MLP's, whose inputs are four times as many. For the
#: supervised networks with a head of their own (a ViT among them) stands the supervised one.
STAND_INS: dict[tuple[str, str | None], tuple[str, str]] = {
    ("dinov2_vitb14", "blocks.9.mlp.fc2"): (DINO, "blocks.9.attn.proj"),
    ("dinov2_vitb14", "blocks.10.mlp.fc2"): (DINO, "blocks.10.attn.proj"),
    ("dinov2_vitb14", "blocks.11.mlp.fc2"): (DINO, "blocks.11.attn.proj"),
    ("dinov2_vits14", "blocks.11.mlp.fc2"): (DINO, "blocks.8.attn.proj"),
    ("dinov2_vitl14", "blocks.22.mlp.fc2"): (DINO, "blocks.7.attn.proj"),
    ("siglip2_base", None): (DINO, "blocks.6.attn.proj"),
    ("augreg_vit_base", "blocks.11.mlp.fc2"): (LITE, "blocks.5.3.conv_pwl"),
    ("convnextv2_base", "stages.3.blocks.2.mlp.fc2"): (LITE, "blocks.6.0.conv_pwl"),
}

#: For other suites' layers, in order of appearance; the deepest first.
FREE = tuple((DINO, f"blocks.{number}.attn.proj") for number in range(11, -1, -1))


class StandIn(NamedTuple):
    """One layer of the suite and what stands in for it."""

    backbone: str
    site: str
    stands: str
    at: str


class Scaled(NamedTuple):
    """A suite at reduced size."""

    suite: Suite
    stand_ins: list[StandIn]
    changes: list[str]
    """what is smaller, in sentences"""

    def told(self, other_images: str | None = None) -> list[str]:
        """What a person must know about the figures, line by line; ``other_images`` replace the photographs."""
        lines = ["Scale tiny: this proves that everything runs; no number below means anything about a method."]
        lines += [f"  {row.backbone} at {row.site}: {row.stands} at {row.at} stands in." for row in self.stand_ins]
        images = _PHOTOGRAPHS if other_images is None else f"{other_images}, all of it, {TOKENS_PER_IMAGE} tokens each."
        return [*lines, f"  {images}", *(f"  {change}" for change in self.changes)]


def scaled(suite: Suite, scale: str) -> Scaled:
    """The suite at a scale; ``tiny`` is the only one.

    Raises:
        UserError: for another scale, a suite with more layers than there are stand-ins, or one of planted layers.
    """
    if scale not in SCALES:
        raise UserError(f"--scale {scale}: {did_you_mean(scale, list(SCALES))} Left out, a suite runs as it is.")
    made = next((t.backbone for leaf in suite.leaves for t in leaf.targets if _made(t)), None)
    if made is not None:
        raise UserError(
            f"--scale {scale}: {suite.name} measures layers that are made for it, such as {made}; on other layers its "
            "questions have no answer. Run it as it is."
        )
    stand_ins = _stand_ins(suite)
    sizes = _sizes(suite)
    small = each_leaf(suite, lambda leaf: _tiny(leaf, stand_ins, sizes))
    if small.parts:
        small = small.model_copy(update={"name": f"{suite.name}-{scale}"})
    shown = [StandIn(backbone, site or "its default layer", *to) for (backbone, site), to in stand_ins.items()]
    return Scaled(small, shown, _CHANGES)


_PHOTOGRAPHS = (
    f"{DATASET}: {PHOTOGRAPHS - EVALUATION} photographs probed, {TOKENS_PER_IMAGE} tokens each, "
    f"and {EVALUATION} evaluated."
)
_CHANGES = [
    "Training: 2 epochs, batches of 256, a quarter of the expansion factor; sweeps: two configurations a family.",
    "ELUDe: top_k and cluster sizes shrunk in order, so that settings that differ still do.",
    "Judging: the proxy panel, two unit pairs per pair of methods and token seed.",
]


def _stand_ins(suite: Suite) -> dict[tuple[str, str | None], tuple[str, str]]:
    wanted = dict.fromkeys((t.backbone, t.site) for leaf in suite.leaves for t in leaf.targets if not _stays(t))
    kept = {(t.backbone, t.site) for leaf in suite.leaves for t in leaf.targets if _stays(t)}
    found: dict[tuple[str, str | None], tuple[str, str]] = {key: STAND_INS[key] for key in wanted if key in STAND_INS}
    free = [place for place in FREE if place not in found.values() and place not in kept]
    for key in wanted:
        if key not in found:
            if not free:
                raise UserError(f"--scale tiny has stand-ins for {len(FREE)} layers, and the suite has more.")
            found[key] = free.pop(0)
    return found


def _stays(target: Target) -> bool:
    """Whether the target needs no stand-in: it is embedded, has weights of its own, or random ones."""
    from harness import backbones

    if target.checkpoint is not None or not target.weights:
        return True
    entry = backbones.BACKBONES.entries.get(target.backbone)
    source = backbones.BACKBONES.get(target.backbone) if entry else None
    return source is not None and not source.hub


def _made(target: Target) -> bool:
    """Whether the layer is planted: its truth is known for its own images only."""
    from harness.backbones import PREFIXES

    prefix, colon, _ = target.backbone.partition(":")
    return bool(colon) and prefix in PREFIXES and PREFIXES[prefix].built_from is not None


def _tiny(leaf: Suite, stand_ins: Mapping[tuple[str, str | None], tuple[str, str]], sizes: _Sizes) -> Suite:
    values = leaf.model_dump()
    targets = []
    for target, described in zip(leaf.targets, values["targets"], strict=True):
        stands = stand_ins.get((target.backbone, target.site))
        if stands is not None:
            # EfficientNet has a head and the embedded ViT none, whatever the head of what it stands in for.
            described |= {"backbone": stands[0], "site": stands[1], "head": "own" if stands[0] == LITE else "probe"}
        described["methods"] = [
            {**entry.model_dump(), "config": _small(entry.name, entry.config, sizes)}
            for entry in leaf.methods_of(target)
        ]
        described["settings"] = {}
        targets.append(described)
    judging = leaf.judging and {"panel": "proxy", "pairs": 2, "controls": 2, "min_images": 1, "seed": leaf.judging.seed}
    return parse_suite(
        {
            **values,
            "name": f"{leaf.name}-tiny",
            "targets": targets,
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

# Settings that are numbers of tokens: how each shrinks. What is smaller in the suite must be smaller here, so values
# that would meet are moved apart by `_sizes`.
_SHRINK: dict[str, Callable[[int], int]] = {
    "top_k": lambda value: min(TOKENS, 30 + value // 5000),
    "min_cluster_size": lambda value: 2 + value // 200,
    "min_samples": lambda value: 1 + value // 100,
}


def _sizes(suite: Suite) -> _Sizes:
    """For each setting that shrinks, every value of the suite with its small one; in order and without collisions."""
    found: dict[str, set[int]] = {key: set() for key in _SHRINK}
    for leaf in suite.leaves:
        for target in leaf.targets:
            for entry in leaf.methods_of(target):
                full = _with_defaults(entry.name, entry.config)
                for key in _SHRINK:
                    if isinstance(full.get(key), int):
                        found[key].add(full[key])
    return {key: _apart(sorted(values), _SHRINK[key]) for key, values in found.items()}


def _apart(values: Iterable[int], shrink: Callable[[int], int]) -> dict[Any, int]:
    small: dict[Any, int] = {}
    last = 0
    for value in values:
        last = small[value] = max(shrink(value), last + 1)
    return small


def _with_defaults(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    fields = METHODS.get(name).Config.model_fields
    return {**{key: field.default for key, field in fields.items()}, **config}


def _small(name: str, config: Mapping[str, Any], sizes: _Sizes) -> dict[str, Any]:
    fields = METHODS.get(name).Config.model_fields
    full = _with_defaults(name, config)
    small = dict(config)
    # A plugin's method may call its settings likewise and mean something else by them, or have no default.
    for key, most in (("epochs", 2), ("batch_size", 256)):
        if key in fields and isinstance(full[key], int):
            small[key] = min(most, full[key])
    if "expansion_factor" in fields and isinstance(full["expansion_factor"], int | float):
        small["expansion_factor"] = full["expansion_factor"] / 4
    for key, values in sizes.items():
        if key in fields and isinstance(full[key], int) and full[key] in values:
            small[key] = values[full[key]]
    return small
