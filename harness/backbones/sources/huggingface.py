"""Vision towers of Hugging Face models, through transformers, with the preprocessing of their image processors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.backbones.base import Backbone, Preprocessing, last_fc2, last_path
from harness.backbones.final_tokens import transformers_final_tokens
from harness.backbones.sources.base import Request, origin, require
from harness.backbones.sources.hub import offline_if_unreachable
from methods.errors import UserError, first_line

# Class of the vision tower inside a two-tower model, by the configuration's model type.
_TOWERS = {"siglip": "SiglipVisionModel", "clip": "CLIPVisionModel"}
# Model types whose `pooler_output` is the trained representation. For others (ViT, DINOv2, ...) that is the CLS token:
# their pooler, if there is one, is usually not in the checkpoint and would be random.
_TRAINED_POOLERS = {"siglip_vision_model", "clip_vision_model"}
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as processor configurations store them


def load(request: Request) -> Backbone:
    """Load the vision tower of the model ``request.identifier``, or of the local folder given as checkpoint.

    A folder must hold ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``. Weights are read from
    safetensors only, and no code of a repository is run. Classification heads are dropped: these backbones give
    features.

    Raises:
        UserError: if transformers is missing, the model cannot be downloaded or read, its weights are incomplete, it
            takes no plain images, or :class:`Preprocessing` cannot express its preprocessing.
    """
    require("transformers", "transformers", request.spec)
    if request.checkpoint is not None and not request.checkpoint.is_dir():
        raise UserError(
            f"{request.spec!r} takes a folder as checkpoint (config.json, model.safetensors, "
            f"preprocessor_config.json), and {request.checkpoint.name!r} is a file."
        )
    repository = str(request.checkpoint or request.identifier)
    config = _fetch(lambda auto: auto.AutoConfig.from_pretrained(repository), request)
    processor = _fetch(lambda auto: auto.AutoImageProcessor.from_pretrained(repository), request)
    preprocessing = as_preprocessing(processor.to_dict(), request.spec)
    model = _model(repository, config, request)
    # Counted on an image on the CPU, so before the model moves.
    n_prefix_tokens = _prefix_tokens(model, preprocessing.size, request.spec)
    gemma = request.identifier.startswith("google/siglip2")
    card_license = "Gemma terms" if gemma else f"see the card of {Path(request.identifier).as_posix()}"
    source, license_ = origin(request, "Hugging Face", card_license)
    return Backbone(
        name=request.spec,
        title=request.identifier,
        model=model.to(request.device),
        preprocessing=preprocessing,
        n_prefix_tokens=n_prefix_tokens,
        default_site=last_mlp(model),
        source=source,
        license=license_,
        pretrained=request.weights,
        pool=pooled,
        final_tokens=transformers_final_tokens(model),
    )


def pooled(model: nn.Module, images: Tensor) -> Tensor:
    """Return the pooled features (B, d).

    These are the tower's trained pooling, else its CLS token after the final norm; for a CNN, the pooled feature map.
    """
    output = model(pixel_values=images)
    hidden = output.last_hidden_state
    pools = hidden.ndim == 4 or model.config.model_type in _TRAINED_POOLERS  # type: ignore
    features: Tensor = output.pooler_output.flatten(1) if pools else hidden[:, 0]
    return features


def last_mlp(model: nn.Module) -> str | None:
    """Return the path of the output layer of the last block's MLP, by transformers' names, or None.

    The pooling head is excluded.
    """
    endings = (".output.dense", ".pwconv2", ".mlp.down_proj", ".mlp.weights_out")

    def accepts(path: str, module: nn.Module) -> bool:
        return isinstance(module, nn.Linear) and path.endswith(endings) and "attention" not in path

    return last_fc2(model) or last_path(model, accepts)


def as_preprocessing(config: dict[str, Any], spec: str) -> Preprocessing:
    """Convert an image processor's configuration to a :class:`Preprocessing`.

    Raises:
        UserError: for a processor with other steps than resize, crop, scale by 1/255 and normalise.
    """
    size, crop = (
        {"shortest_edge": sides} if isinstance(sides, int) else dict(sides or {})
        for sides in (config.get("size"), config.get("crop_size"))
    )
    shortest, height, width = size.get("shortest_edge"), size.get("height"), size.get("width")
    crop_height, crop_width = crop.get("height"), crop.get("width")
    crops = bool(config.get("do_center_crop")) and crop_height is not None
    factor = config.get("rescale_factor") or 1 / 255
    interpolation = _INTERPOLATIONS.get(int(config.get("resample") or 0))
    mean, std = config.get("image_mean"), config.get("image_std")
    disabled = [step for step in ("do_resize", "do_rescale", "do_normalize") if config.get(step) is False]
    if disabled:
        raise UserError(
            f"The image processor of {spec!r} is not supported: it has {' and '.join(disabled)} switched off, but it "
            "must resize, scale by 1/255 and normalise."
        )
    if interpolation is None or not math.isclose(factor, 1 / 255, rel_tol=1e-3) or not mean or not std:
        raise UserError(
            f"The image processor of {spec!r} is not supported: it must resample bilinearly or bicubically (2 or 3, it "
            f"has {config.get('resample')}), scale by 1/255 (it has {factor}) and have a mean and a std."
        )
    options: dict[str, Any] = {"interpolation": interpolation, "mean": tuple(mean), "std": tuple(std)}
    if height and width and not crops and height == width:
        return Preprocessing(size=height, resize=height, fit="squash", **options)
    if shortest and crop_height and crops and crop_height == crop_width:
        return Preprocessing(size=crop_height, resize=shortest, **options)
    if shortest and "crop_pct" in config:
        # ConvNeXt's processor: below 384 px it resizes to size / crop_pct and crops; from 384 px on it squashes.
        if shortest >= 384:
            return Preprocessing(size=shortest, resize=shortest, fit="squash", **options)
        return Preprocessing(size=shortest, resize=int(shortest / (config["crop_pct"] or 0.875)), **options)
    raise UserError(
        f"The image processor of {spec!r} is not supported: size {config.get('size')}, crop {config.get('crop_size')}. "
        "It must give square images of one size."
    )


def _model(repository: str, config: Any, request: Request) -> nn.Module:
    import transformers

    tower = _TOWERS.get(config.model_type)
    if config.model_type.startswith("siglip2"):
        raise UserError(
            f"{request.spec!r} takes patches of varying number (NaFlex), not images: use a variant of one resolution."
        )
    if tower is None and hasattr(config, "vision_config"):
        raise UserError(
            f"{request.spec!r} is a {config.model_type} model, whose vision tower cannot be taken out yet. "
            f"Supported two-tower models: {', '.join(_TOWERS)}."
        )
    cls: Any = getattr(transformers, tower) if tower else transformers.AutoModel
    if not request.weights:
        inner = config.vision_config if tower else config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            untrained: nn.Module = cls._from_config(inner) if tower else cls.from_config(inner)
            return untrained
    options = {"use_safetensors": True, "output_loading_info": True, "dtype": torch.float32}
    model, info = _fetch(lambda _: cls.from_pretrained(repository, **options), request)
    missing = sorted(info["missing_keys"])
    if model.config.model_type not in _TRAINED_POOLERS and any(key.startswith("pooler.") for key in missing):
        # It would be random, unused, and would make the fingerprint of the weights random too.
        model.pooler = None
        missing = [key for key in missing if not key.startswith("pooler.")]
    if missing or info.get("mismatched_keys"):
        mismatched = list(info.get("mismatched_keys") or ())
        first = ", ".join(map(str, (missing or mismatched)[:3]))
        count = len(missing) + len(mismatched)
        raise UserError(
            f"The weights of {request.spec!r} are incomplete: {count} parameters missing or of another shape ({first})."
        )
    return model  # type: ignore[no-any-return]


def _fetch(load_with: Any, request: Request) -> Any:
    import transformers

    try:
        with offline_if_unreachable():
            return load_with(transformers)
    except Exception as error:  # OSError, ValueError and the hub clients' own, without a common base
        if request.checkpoint is not None:
            raise UserError(
                f"The folder {request.checkpoint.name!r} cannot be read as a transformers model: it needs config.json, "
                f"model.safetensors and preprocessor_config.json. ({first_line(error)})"
            ) from error
        raise UserError(
            f"{request.spec!r} could not be downloaded; give a local folder: --checkpoint FOLDER. ({first_line(error)})"
        ) from error


def _prefix_tokens(model: nn.Module, size: int, spec: str) -> int:
    """Count the tokens that are no patches: the sequence length of one blank image minus the size of the patch grid."""
    model.eval()
    try:
        with torch.no_grad():
            hidden = model(pixel_values=torch.zeros(1, 3, size, size)).last_hidden_state
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f"{spec!r} is no model that maps images to hidden states ({first_line(error)}).") from error
    patch = getattr(model.config, "patch_size", None)
    if hidden.ndim != 3 or not isinstance(patch, int):
        return 0
    return int(max(0, hidden.shape[1] - (size // patch) ** 2))
