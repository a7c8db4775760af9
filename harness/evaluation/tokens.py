"""Probing tokens of a layer, as the harness gives them to the methods that it fits."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harness import backbones
from harness.activations.collect import collect
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.activations.token_set import TokenSet
from harness.atomic import create_partial, remove
from harness.cells.plan import load_images, open_target
from harness.devices import best_device, require_device_name
from harness.errors import UserError
from harness.evaluation.layer import layer_suite
from harness.evaluation.progress import reporter_of
from harness.evaluation.store_path import store_path
from methods import numerics
from methods.plugin_calls import calling
from methods.setting_problems import quoted


class LayerTokens(NamedTuple):
    """Layer of a backbone, and tokens of it."""

    site: Site
    """widths of the layer, and its weights if it is linear; the second argument of ``fit``"""
    tokens: TokenSet
    """tokens on disk; the first argument of ``fit``"""


def collect_tokens(
    backbone: str,
    site: str | None = None,
    dataset: str | None = None,
    *,
    tokens_per_image: int | None = None,
    seed: int = 42,
    crops: int | None = None,
    suite: str | Path = "demo",
    evaluation: float | None = None,
    checkpoint: str | Path | None = None,
    weights: bool = True,
    device: str = "auto",
    cache: str | Path | None = None,
    progress: bool = True,
) -> LayerTokens:
    """Run the probing images through a backbone and keep tokens of one layer: the training data of a method.

    These are the tokens on which ``harness run`` and :func:`harness.evaluate` fit methods with the same arguments:
    ``methods.create(...).fit(tokens, site, seed=42)`` gives the same fit. Evaluation images are not among them. Tokens
    that are in the cache are read from there.

    Args:
        backbone: name of a backbone (``harness list backbones``).
        site: module path of the layer (``harness list sites``); default: that of the suite, else of the backbone.
        dataset: images, such as ``"photos"`` or ``"folder:PATH"``; default: those of the suite.
        tokens_per_image: tokens drawn from each crop; 0: all; default: as in the suite.
        seed: token seed, which draws them.
        crops: random-resized crops per image; 0: the centre crop; default: as in the suite.
        suite: name or path of the suite whose settings are used.
        evaluation: number or share of images that are kept for evaluation; default: as ``harness run``.
        checkpoint: file of other weights of the backbone.
        weights: False: random weights.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        cache: folder of token sets; default: ``cache/`` beside the default store.
        progress: print the progress.

    Returns:
        Pair of the site and the tokens. ``tokens.n`` is their number; ``tokens.gather("output", rows)`` returns rows
        (len(rows), d_out) as a float32 tensor, ``tokens.batches("output", size)`` all of them in order, and "input"
        those of the layer's input; ``tokens.image``, ``tokens.position`` and ``tokens.label`` describe each token.

    Raises:
        UserError: for an unknown name, or a value of another type; if images cannot be read, or the disk is too small.
    """
    if isinstance(seed, list | tuple | range):
        raise UserError(f"collect_tokens: seed = {quoted(seed)}: give one whole number.")
    numbers = {"tokens_per_image": tokens_per_image, "crops": crops}
    chosen = layer_suite(
        suite,
        caller="collect_tokens",
        seed=seed,
        options={
            **{"backbone": backbone, "site": site, "checkpoint": checkpoint, "weights": weights},
            **{"dataset": dataset, "evaluation": evaluation},
        },
        settings=[_setting(name, value) for name, value in numbers.items() if value is not None],
    )
    require_device_name(str(device))
    target = chosen.targets[0]
    _, split = load_images(chosen)
    loaded = backbones.load(
        target.backbone, checkpoint=target.checkpoint, weights=target.weights, device=best_device(device)
    )
    with calling(backbones.BACKBONES, target.backbone):
        opened = open_target(target, loaded)
    probing = chosen.probing
    plan = ProbingPlan(probing.crops, probing.tokens_per_image, probing.dtype, seed)
    folder = Path(cache).expanduser() if cache else store_path(None).parent / "cache"
    remove(create_partial(folder / "probe", folder=False))
    reporter = reporter_of(progress)
    reporter.start(1, 0)
    try:
        with numerics.threads():
            (tokens,) = collect(
                loaded,
                opened,
                split.probing,
                [plan],
                folder,
                batch_size=chosen.evaluation.batch_size,
                progress=reporter.progress,
            )
    finally:
        reporter.stop()
    return LayerTokens(opened, tokens)


def _setting(name: str, value: int) -> str:
    if type(value) is not int or value < 0:
        raise UserError(f"collect_tokens: {name} = {value!r}: give a whole number from 0.")
    return f"probing.{name}={value}"
