"""Mapping of published rows to measured ones: the only place that maps the paper's names to the store's.

A published row is a backbone, a layer, an expansion factor and a method, as the paper prints them. Its measured
counterpart is a row of a board whose backbone, site, method and configuration match the rules below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: The paper's backbone -> registry names under which the same weights are loaded.
BACKBONES: Mapping[str, tuple[str, ...]] = {
    "AugReg ViT-B/16": ("augreg_vit_base", "timm:vit_base_patch16_224.augreg_in21k_ft_in1k"),
    "DINOv2 ViT-S/14": ("dinov2_vits14", "torchhub:facebookresearch/dinov2:dinov2_vits14"),
    "DINOv2 ViT-B/14": ("dinov2_vitb14", "torchhub:facebookresearch/dinov2:dinov2_vitb14"),
    "DINOv2 ViT-L/14": ("dinov2_vitl14", "torchhub:facebookresearch/dinov2:dinov2_vitl14"),
    "SigLIP2-B/16": ("siglip2_base", "hf:google/siglip2-base-patch16-224"),
    "ConvNeXtV2-Base": ("convnextv2_base", "timm:convnextv2_base.fcmae_ft_in22k_in1k"),
}
#: The paper's method -> registry name.
METHODS: Mapping[str, str] = {
    "backbone only": "identity",
    "vanilla SAE": "vanilla_sae",
    "TopK SAE": "topk_sae",
    "JumpReLU SAE": "jumprelu_sae",
    "BatchTopK SAE": "batchtopk_sae",
    "Matryoshka SAE": "matryoshka_sae",
    "Archetypal SAE": "archetypal_sae",
    "Matching Pursuit SAE": "matching_pursuit_sae",
    "transcoder": "transcoder",
    "ELUDe": "elude",
    "random baseline": "random_split",
}
#: The paper's name of ELUDe, which is the only method of Table 9.
ELUDE_NAME = "ELUDe"
#: Name of a backbone in Table 9, in which the expansion factor may follow -> its name in the other tables.
_TABLE_9: Mapping[str, str] = {
    "DINOv2-S/14": "DINOv2 ViT-S/14",
    "DINOv2-B/14": "DINOv2 ViT-B/14",
    "DINOv2-L/14": "DINOv2 ViT-L/14",
    "ConvNeXtV2-B": "ConvNeXtV2-Base",
}
#: Table 9: (backbone, layer, expansion factor) -> settings of ELUDe; min_cluster_size is 1000 unless given.
ELUDE: Mapping[tuple[str, int | None, int], Mapping[str, int]] = {
    ("AugReg ViT-B/16", 12, 8): {"top_k": 100_000},
    ("DINOv2 ViT-B/14", 12, 8): {"top_k": 400_000},
    ("DINOv2 ViT-B/14", 10, 8): {"top_k": 400_000},
    ("DINOv2 ViT-B/14", 11, 8): {"top_k": 200_000},
    ("DINOv2 ViT-S/14", 12, 8): {"top_k": 400_000},
    ("DINOv2 ViT-L/14", 23, 8): {"top_k": 400_000, "min_cluster_size": 500},
    ("SigLIP2-B/16", 12, 8): {"top_k": 200_000},
    ("ConvNeXtV2-Base", None, 8): {"top_k": 500_000},
    ("DINOv2 ViT-B/14", 12, 4): {"top_k": 60_000},
    ("DINOv2 ViT-B/14", 12, 16): {"top_k": 400_000, "min_cluster_size": 750},
}
_ELUDE_DEFAULTS: Mapping[str, Any] = {
    "min_cluster_size": 1000,
    "min_samples": None,
    "cluster_selection_method": "leaf",
    "umap_dims": None,
}
#: Table 7: variant -> differences from ELUDe at expansion factor 4.
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "cluster_selection_method=eom": {"cluster_selection_method": "eom"},
    "min_cluster_size=100": {"min_cluster_size": 100},
    "min_cluster_size=250": {"min_cluster_size": 250},
    "min_cluster_size=500": {"min_cluster_size": 500},
    "min_samples=1": {"min_samples": 1},
    "min_samples=100": {"min_samples": 100},
    "min_samples=500": {"min_samples": 500},
    "UMAP": {"umap_dims": any},
}


class PaperSetting(NamedTuple):
    """Setting in which a published number was measured."""

    backbone: str
    layer: int | None
    """counted from 1, as in the paper; None for the ConvNeXt's last linear layer"""
    expansion_factor: int

    def __str__(self) -> str:
        layer = "last linear layer" if self.layer is None else f"layer {self.layer}"
        return f"{self.backbone}, {layer}, expansion factor {self.expansion_factor}"


#: Tables 4, 5 and 7 are of this backbone and layer (Sections C.1, C.2 and E.2 of the paper).
MAIN = PaperSetting("DINOv2 ViT-B/14", 12, 8)
ABLATED = PaperSetting("DINOv2 ViT-B/14", 12, 4)


class Counterparts(NamedTuple):
    """Names in the store for the paper's names."""

    is_backbone: Callable[[str, PaperSetting], bool]
    is_site: Callable[[str, PaperSetting], bool]
    is_method: Callable[[str, Mapping[str, Any], PaperSetting, str], bool]
    compiled: str = "_compiled"
    """suffix of the scores that were timed as in the paper"""


def is_site(path: str, setting: PaperSetting) -> bool:
    """Return whether a module path is the setting's layer: its second linear map of the MLP, or of the last block."""
    if setting.layer is None:
        return path == "stages.3.blocks.2.mlp.fc2"
    return re.search(rf"(?:^|\.)(?:blocks|layers|layer)\.{setting.layer - 1}\.mlp\.fc2$", path) is not None


def setting_of_elude(backbone: str, layer: str) -> PaperSetting:
    """Return the setting of a row of Table 9, e.g. of ``DINOv2-B/14 (EF4)`` at layer ``12``."""
    name, _, factor = backbone.partition(" (EF")
    number = int(layer) if layer.isdigit() else None
    return PaperSetting(_TABLE_9.get(name, name), number, int(factor.rstrip(")") or 8))


def is_backbone(name: str, setting: PaperSetting) -> bool:
    """Return whether a registry name loads the setting's backbone."""
    return name in BACKBONES.get(setting.backbone, ())


def is_method(method: str, config: Mapping[str, Any], setting: PaperSetting, published: str) -> bool:
    """Return whether a method in one configuration is the paper's `published` method in this setting.

    `published` is a name of METHODS or a variant of Table 7 (ABLATIONS). Expansion factors: SAEs and the transcoder are
    configured with theirs; ELUDe's is a result, so its row is the one with Table 9's settings; the backbone has none,
    and the random baseline splits every neuron into as many parts.
    """
    if published in ABLATIONS:
        return method == "elude" and _is_elude(config, {**ELUDE[ABLATED], **ABLATIONS[published]})
    if METHODS.get(published) != method:
        return False
    if method == "elude":
        wanted = ELUDE.get((setting.backbone, setting.layer, setting.expansion_factor))
        return wanted is not None and _is_elude(config, wanted)
    key = "parts" if method == "random_split" else "expansion_factor"
    return method == "identity" or float(config.get(key, -1)) == setting.expansion_factor


def _is_elude(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for key, value in {**_ELUDE_DEFAULTS, **wanted}.items():
        setting = config.get(key, _ELUDE_DEFAULTS.get(key))
        if (setting is None) if value is any else (setting != value):
            return False
    return True


#: The paper's own networks, layers and settings.
PAPER_COUNTERPARTS = Counterparts(is_backbone, is_site, is_method)
