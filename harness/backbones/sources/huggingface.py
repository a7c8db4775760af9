"""Vision towers of Hugging Face models, through transformers, with the preprocessing of their image processors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from harness.backbones.base import Backbone, last_fc2, last_path
from harness.backbones.final_tokens import transformers_final_tokens
from harness.backbones.sources.base import Request, origin, require
from harness.backbones.sources.huggingface_fetch import fetch
from harness.backbones.sources.huggingface_folders import folder_of, name_of
from harness.backbones.sources.huggingface_pooling import reading_of
from harness.backbones.sources.huggingface_processors import preprocessing_of
from harness.backbones.sources.huggingface_text import loader
from harness.backbones.sources.huggingface_weights import can_pool, dropped_weights, is_pooler, require_complete
from methods.errors import UserError

# Class of the vision tower inside a two-tower model, by the configuration's model type; and of a saved tower of which
# AutoModel does not know the class.
_TOWERS = {
    "siglip": "SiglipVisionModel",
    "clip": "CLIPVisionModel",
    "chinese_clip": "ChineseCLIPVisionModel",
    "metaclip_2": "MetaClip2VisionModel",
    "metaclip_2_vision_model": "MetaClip2VisionModel",
}


def load(request: Request) -> Backbone:
    """Load the vision tower of the model ``request.identifier``, or of a local folder.

    The folder is the identifier itself (``hf:PATH``) or the checkpoint. It must hold ``config.json``,
    ``model.safetensors`` and ``preprocessor_config.json``. Weights are read from safetensors only, and no code of a
    repository is run. Classification heads are dropped: these backbones give features
    (:mod:`.huggingface_pooling`).

    Raises:
        UserError: if transformers is missing, the model cannot be downloaded or read, its weights are incomplete or
            partly unused, it takes no plain images, its features are not defined, or :class:`Preprocessing` cannot
            express its preprocessing.
    """
    require("transformers", "transformers", request.spec)
    if request.checkpoint is not None and not request.checkpoint.is_dir():
        raise UserError(
            f"{request.spec!r} takes a folder as checkpoint (config.json, model.safetensors, "
            f"preprocessor_config.json), and {request.checkpoint.name!r} is a file."
        )
    folder = request.checkpoint or folder_of(request.identifier)
    repository = str(folder or request.identifier)
    config = fetch(lambda auto: auto.AutoConfig.from_pretrained(repository, trust_remote_code=False), request)
    _require_images(config, request.spec)
    name = name_of(request.identifier) if request.spec.startswith("hf:") else request.spec
    preprocessing = preprocessing_of(
        lambda backend: fetch(
            lambda auto: auto.AutoImageProcessor.from_pretrained(repository, backend=backend, trust_remote_code=False),
            request,
        ),
        name,
    )
    model, trained_pooler = _model(repository, config, request)
    # One image is run on the CPU, so before the model moves.
    reading = reading_of(model, preprocessing.size, trained_pooler=trained_pooler, spec=name)
    gemma = request.identifier.startswith("google/siglip2")
    short = name.removeprefix("hf:")
    card_license = "Gemma terms" if gemma else f"see the card of {short}"
    source, license_ = origin(replace(request, checkpoint=folder), "Hugging Face", card_license)
    backbone = Backbone(
        name=name,
        title=short if request.spec.startswith("hf:") else request.identifier,
        model=model.to(request.device),
        preprocessing=preprocessing,
        n_prefix_tokens=reading.n_prefix_tokens,
        default_site=last_mlp(model),
        source=source,
        license=license_,
        pretrained=request.weights,
        pool=reading.pool,
        reading={**reading.identity, **activation_identity(model.config)},
        final_tokens=transformers_final_tokens(model),
    )
    backbone.text_tower = loader(backbone, config.model_type, repository, lambda use: fetch(use, request))
    return backbone


def activation_identity(config: Any) -> dict[str, Any]:
    """Return the entry of the identity for an activation function that is not the default of its kind of model.

    Models may differ in nothing else: OpenAI's CLIP has QuickGELU, and some copies of its weights state GELU.
    """
    stated = getattr(config, "hidden_act", None)
    default = getattr(type(config)(), "hidden_act", None)
    return {} if stated == default else {"activation": str(stated)}


def _require_images(config: Any, spec: str) -> None:
    """Raise UserError for configurations of models that take no images, or hold a tower that cannot be taken out."""
    if config.model_type.startswith("siglip2"):
        raise UserError(
            f"{spec!r} takes patches of varying number (NaFlex), not images: use a variant of one resolution."
        )
    if config.model_type == "timm_wrapper":
        raise UserError(
            f"{spec!r} is a model of timm, which is loaded by its own name: timm:{spec.removeprefix('hf:timm/')}."
            if spec.startswith("hf:timm/")
            else f"{spec!r} is a model of timm: use timm:{config.architecture} with the weights in this folder, "
            "--checkpoint FOLDER/model.safetensors."
        )
    if config.model_type not in _TOWERS and hasattr(config, "vision_config"):
        raise UserError(
            f"{spec!r} is a {config.model_type} model, whose vision tower cannot be taken out yet. "
            f"Supported two-tower models: {', '.join(name for name in _TOWERS if 'vision' not in name)}."
        )
    if config.model_type == "perceiver":
        raise UserError(f"{spec!r} is a perceiver model, which has no grid of patches: use another model.")
    if hasattr(config, "num_frames") or hasattr(config, "frames_per_clip"):
        raise UserError(f"{spec!r} is a {config.model_type} model, which takes videos, not images.")


def last_mlp(model: nn.Module) -> str | None:
    """Return the path of the output layer of the last block's MLP, by transformers' names, or None.

    The pooling head is excluded.
    """
    endings = (".output.dense", ".pwconv2", ".mlp.down_proj", ".mlp.weights_out")

    def accepts(path: str, module: nn.Module) -> bool:
        return isinstance(module, nn.Linear) and path.endswith(endings) and "attention" not in path

    return last_fc2(model) or last_path(model, accepts)


def _model(repository: str, config: Any, request: Request) -> tuple[nn.Module, bool]:
    """Return the model, and True if its pooler has trained weights."""
    import transformers

    tower = _TOWERS.get(config.model_type)
    cls: Any = getattr(transformers, tower) if tower else transformers.AutoModel
    if not request.weights:
        inner = getattr(config, "vision_config", config) if tower else config
        model, trained_pooler = fetch(lambda _: _untrained(cls, inner), request), False
    else:
        model, trained_pooler = _pretrained(cls, repository, request)
    if config.model_type == "vit_mae":
        model.config.mask_ratio = 0.0
    return model, trained_pooler


def _untrained(cls: Any, config: Any) -> nn.Module:
    """Return a model with random weights of a fixed seed; the global generator's state is restored."""
    is_auto = hasattr(cls, "from_config")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = cls.from_config(config, trust_remote_code=False) if is_auto else cls._from_config(config)
        return model


def _pretrained(cls: Any, repository: str, request: Request) -> tuple[nn.Module, bool]:
    """Return the model with its weights, and True if its pooler is among them."""
    # Without trust_remote_code=False, a repository with code of its own makes transformers ask on the terminal.
    options = {
        "use_safetensors": True, "output_loading_info": True, "dtype": torch.float32, "trust_remote_code": False
    }  # fmt: skip
    model, info = fetch(lambda _: cls.from_pretrained(repository, **options), request)
    dropped = dropped_weights(model, info["unexpected_keys"])
    if any(is_pooler(name) for name in dropped) and can_pool(model):
        # Some base models are built without the pooler by default, though their classifier reads it (Data2Vec).
        model, info = fetch(lambda _: cls.from_pretrained(repository, add_pooling_layer=True, **options), request)
        dropped = dropped_weights(model, info["unexpected_keys"])
    missing = sorted(info["missing_keys"])
    pooler = [name for name in missing if is_pooler(name)]
    trained_pooler = not pooler
    if pooler and len(pooler) == sum(1 for name in model.state_dict() if is_pooler(name)):
        # It would be random, unused, and would make the fingerprint of the weights random too.
        model.pooler = None
        missing = [name for name in missing if not is_pooler(name)]
    require_complete(request.spec, missing, [str(key) for key in info.get("mismatched_keys") or ()], dropped)
    return model, trained_pooler
