"""Rows of the paper's Table 5: time per batch and peak memory of each method in ViT-B/14, beside the published ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import methods
from gpu.record import Record
from harness.activations.linear_site import LinearLayerSite
from harness.backbones import load
from harness.backbones.base import Backbone
from harness.check.world import SmallTokens
from harness.efficiency.integration import ENCODE_DECODE, MATERIALISED
from harness.efficiency.measure import measure
from harness.efficiency.protocol import Protocol
from methods.base import Method
from results.published.tables import published_table

TITLE = "Table 5: ms per batch and memory, DINOv2 ViT-B/14 at 224 px with random weights"
ORDER = 4
LIMIT_S = 75

SITE = "blocks.11.mlp.fc2"
#: The order of measuring: methods with a published row, the cheapest to compile first. `identity` is the backbone.
PUBLISHED = {
    "identity": "backbone only",
    "topk_sae": "TopK SAE",
    "random_split": "ELUDe",
    "vanilla_sae": "vanilla SAE",
    "matryoshka_sae": "Matryoshka SAE",
    "jumprelu_sae": "JumpReLU SAE",
    "batchtopk_sae": "BatchTopK SAE",
    "transcoder": "transcoder",
    "archetypal_sae": "Archetypal SAE",
    "matching_pursuit_sae": "Matching Pursuit SAE",
}
#: Also the name of a split's unedited mode. Table 5 has its sum of sub-units.
MODES = (ENCODE_DECODE, MATERIALISED)
#: Compiling a network takes up to half a minute, so only these are compiled, in one mode, after all rows that are not.
COMPILED = {"topk_sae": ENCODE_DECODE, "random_split": MATERIALISED}
#: Seconds that must be left to measure a method, and to compile one.
METHOD_S, COMPILE_S = 8, 25
IN_TINY = ("identity", "topk_sae", "random_split")


def tokens_of(backbone: Backbone, n: int) -> SmallTokens:
    """Return n tokens of the layer, from random inputs: times depend on widths only."""
    layer = backbone.model.get_submodule(SITE)
    generator = torch.Generator().manual_seed(0)
    q = torch.nn.functional.gelu(torch.randn(n, layer.in_features, generator=generator))  # type: ignore[arg-type]
    a = q @ layer.weight.cpu().T + layer.bias.cpu()  # type: ignore[operator, union-attr]
    image = torch.arange(n).numpy() // 8
    return SmallTokens(q, a, image, (torch.arange(n) % 8 - 1).int().numpy(), image % 5)


def settings(name: str, tiny: bool) -> dict[str, Any]:
    """Return settings with the paper's number of units and almost no training."""
    if name == "identity":
        return {}
    if name == "random_split":
        return {"parts": 2 if tiny else 8}
    return {"expansion_factor": 2 if tiny else 8, "epochs": 1, "batch_size": 4096}


def row_of(record: Record, backbone: Backbone, method: Method, title: str, protocol: Protocol) -> None:
    """Measure one method, and write a row for each mode; with a protocol that compiles, for the compiled ones only."""
    size = backbone.preprocessing.size
    images = torch.randn(protocol.batch_size, 3, size, size, device=record.device)
    published = published_table(5).set_index("method")
    modes = (COMPILED[method.spec.name],) if protocol.compiled else MODES
    measurement = measure(method, backbone, SITE, images, protocol, modes=modes)
    for mode in measurement.modes:
        if mode.compiled != protocol.compiled:
            continue
        times = mode.times
        record.row(
            "rows",
            method=title,
            mode=mode.mode or ("unedited" if method.spec.name == "random_split" else ""),
            compiled=mode.compiled,
            units=method.n_units,
            ms_per_batch=float(np.median(times.variant)),
            backbone_ms=float(np.median(times.reference)),
            peak_mb=None if mode.memory.bytes is None else mode.memory.bytes / 1e6,
            published_ms=float(published.loc[title, "ms_per_batch"]),
            published_mb=float(published.loc[title, "peak_mem_mb"]),
        )
    for note in measurement.notes:
        record.note(f"{title}: {note}")


def run(record: Record) -> None:
    """Fit each method on random tokens, and time it in the network."""
    record.note(
        "Published: one H100, 500 batches, **compiled networks**: compare them with compiled rows only. The backbone's "
        "time is measured in turns with the method's. ELUDe's row is a random split of each neuron into eight "
        "parts, the paper's number of sub-units: the time depends on that number, not on which inputs a part has."
    )
    name = "timm:vit_tiny_patch16_224" if record.tiny else "dinov2_vitb14"
    backbone = load(name, weights=False, device=record.device)
    # An archetypal SAE needs as many tokens as units.
    tokens = tokens_of(backbone, 1000 if record.tiny else 12_288)
    site = LinearLayerSite(backbone.model, SITE, n_prefix_tokens=backbone.n_prefix_tokens)
    batch = 2 if record.tiny else 256
    names: tuple[str, ...] = IN_TINY if record.tiny else tuple(PUBLISHED)
    # Compiling a network takes a minute on two cores, so a test of the report leaves it out.
    compiled_names = () if record.tiny else tuple(COMPILED)
    for compiled, method_name in [*((False, name) for name in names), *((True, name) for name in compiled_names)]:
        if record.seconds_left < (COMPILE_S if compiled else METHOD_S):
            row = f"{PUBLISHED[method_name]}{' compiled' if compiled else ''}"
            record.note(f"{row} and the rows after it were left out for lack of time.")
            break
        protocol = Protocol(
            batch_size=batch, warmup=1, repeats=3 if compiled else 5, compiled=compiled, memory_passes=1
        )
        try:
            config = settings(method_name, record.tiny)
            method = methods.create(method_name, **config).fit(tokens, site, seed=1, device=str(record.device))
            row_of(record, backbone, method, PUBLISHED[method_name], protocol)
        except Exception as error:
            record.check(f"{method_name}: raised {type(error).__name__}: {str(error)[:300]}", 1, 0)
