"""Vision towers of vision-language models of Hugging Face, such as LLaVA-OneVision, through transformers.

A tower is the module of a model that takes images ("image-text-to-text" models, ``AutoModelForImageTextToText``), by
the names that transformers gives it. Its input is one view of an image: the whole image, resized as the model's image
processor does. The crops that the model sees beside it have the same size and the same tower.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from harness.backbones.base import Backbone
from harness.backbones.final_tokens import transformers_final_tokens
from harness.backbones.sources.base import Request, origin, require
from harness.backbones.sources.huggingface import activation_identity, last_mlp
from harness.backbones.sources.huggingface_fetch import fetch
from harness.backbones.sources.huggingface_folders import folder_of, vlm_name_of
from harness.backbones.sources.huggingface_pooling import reading_of
from harness.backbones.sources.huggingface_processors import preprocessing_of
from harness.backbones.sources.huggingface_weights import dropped_weights, is_pooler, require_complete
from methods.errors import UserError

#: Prefix of the specs.
PREFIX = "vlm"

# Names of towers in transformers' models, in the order of its own look-up (PreTrainedModel.get_encoder).
_TOWERS = ("vision_tower", "visual", "vision_model", "vision_encoder", "image_tower")


class WholeModel(NamedTuple):
    """Vision-language model with its weights."""

    model: nn.Module
    tower_path: str
    """path of the vision tower inside the model"""
    trained_pooler: bool
    """False if the tower's pooler is not among the weights"""
    repository: str
    """local folder, or name of a repository of the hub"""

    @property
    def tower(self) -> nn.Module:
        return self.model.get_submodule(self.tower_path)


def load(request: Request) -> Backbone:
    """Load the vision tower of the vision-language model ``request.identifier``, or of a local folder.

    The folder is the identifier itself (``vlm:PATH``) or the checkpoint. Weights are read from safetensors only, and no
    code of a repository is run. The whole model is read, in float32, and everything but the tower is dropped.

    Raises:
        UserError: if transformers is missing, the model cannot be downloaded or read, is no vision-language model, has
            no vision tower that takes images, its weights are incomplete, or :class:`Preprocessing` cannot express its
            preprocessing.
    """
    if request.weights:
        whole = load_whole(request)
        return backbone_of(whole.tower, request, whole.repository, trained_pooler=whole.trained_pooler)
    repository, config = _opened(request)
    with torch.device("meta"):
        skeleton = _fetch(
            lambda auto: auto.AutoModelForImageTextToText.from_config(config, trust_remote_code=False), request
        )
    tower = skeleton.get_submodule(tower_path(skeleton, name_of(request)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = _fetch(lambda _: type(tower)._from_config(tower.config), request)
    return backbone_of(drawn, request, repository, trained_pooler=False)


def load_whole(request: Request) -> WholeModel:
    """Load a vision-language model with all its weights in float32, on the CPU.

    Raises:
        UserError: as :func:`load`.
    """
    repository, _ = _opened(request)
    # Without trust_remote_code=False, a repository with code of its own makes transformers ask on the terminal.
    options = {
        "use_safetensors": True, "output_loading_info": True, "dtype": torch.float32, "trust_remote_code": False
    }  # fmt: skip
    model, info = _fetch(lambda auto: auto.AutoModelForImageTextToText.from_pretrained(repository, **options), request)
    path = tower_path(model, name_of(request))
    tower = model.get_submodule(path)
    missing, inside = set(info["missing_keys"]), f"{path}."
    pooler = {f"{inside}{name}" for name in tower.state_dict() if is_pooler(name)}
    trained_pooler = not pooler & missing
    if pooler and pooler <= missing:
        # It would be random, unused, and would make the fingerprint of the weights random too.
        tower.pooler = None
        missing -= pooler
    unexpected = [key.removeprefix(inside) for key in info["unexpected_keys"] if key.startswith(inside)]
    mismatched = [str(key) for key in info.get("mismatched_keys") or ()]
    require_complete(name_of(request), sorted(missing), mismatched, dropped_weights(tower, unexpected))
    return WholeModel(model, path, trained_pooler, repository)


def tower_path(model: nn.Module, name: str) -> str:
    """Return the path of the module of a vision-language model that takes its images.

    Args:
        name: name of the model in messages.

    Raises:
        UserError: if there is none, or it takes no images.
    """
    modules = dict(model.named_modules())
    path = next((path for prefix in ("", "model.") for end in _TOWERS if (path := f"{prefix}{end}") in modules), None)
    if path is None:
        raise UserError(
            f"{name!r} ({type(model).__name__}) has no vision tower: none of its modules is named "
            f"{', '.join(_TOWERS)}. Use a model with one, such as LLaVA-OneVision."
        )
    tower = modules[path]
    if "pixel_values" not in inspect.signature(tower.forward).parameters or not hasattr(tower, "config"):
        raise UserError(
            f"The vision tower {path!r} of {name!r} ({type(tower).__name__}) takes no images of one size "
            "(pixel_values): use a model whose tower does, such as LLaVA-OneVision."
        )
    return path


def backbone_of(tower: nn.Module, request: Request, repository: str, *, trained_pooler: bool) -> Backbone:
    """Return a vision tower as a backbone; the tower is moved to ``request.device`` and its gradients are turned off.

    Args:
        repository: where the model's image processor is.
        trained_pooler: False if the weights of the tower's pooler were drawn at random.

    Raises:
        UserError: if its features are not defined, or its preprocessing is not supported.
    """
    name = name_of(request)
    preprocessing = preprocessing_of(
        lambda backend: _fetch(
            lambda auto: auto.AutoImageProcessor.from_pretrained(repository, backend=backend, trust_remote_code=False),
            request,
        ),
        name,
        one_view=True,
    )
    # One image is run on the CPU, so before the model moves.
    reading = reading_of(tower, preprocessing.size, trained_pooler=trained_pooler, spec=name)
    short = name.removeprefix(f"{PREFIX}:")
    local = replace(request, checkpoint=_folder(request))
    source, license_ = origin(local, "Hugging Face", f"see the card of {short}")
    return Backbone(
        name=name,
        title=f"vision tower of {short}",
        model=tower.to(request.device),
        preprocessing=preprocessing,
        n_prefix_tokens=reading.n_prefix_tokens,
        default_site=last_mlp(tower),
        source=source,
        license=license_,
        pretrained=request.weights,
        pool=reading.pool,
        reading={**reading.identity, **activation_identity(tower.config)},
        final_tokens=transformers_final_tokens(tower),
    )


def name_of(request: Request) -> str:
    """Return the name of a model in results and messages, without paths of this machine."""
    return vlm_name_of(request.identifier) if request.spec.startswith(f"{PREFIX}:") else request.spec


def _opened(request: Request) -> tuple[str, Any]:
    """Return the repository or folder of a model, and its configuration, which is that of a vision-language model."""
    name = name_of(request)
    require("transformers", "transformers", name)
    if request.checkpoint is not None and not request.checkpoint.is_dir():
        raise UserError(
            f"{name!r} takes a folder as checkpoint (config.json, model.safetensors and the files of its processor), "
            f"and {request.checkpoint.name!r} is a file."
        )
    repository = str(_folder(request) or request.identifier)
    config = _fetch(lambda auto: auto.AutoConfig.from_pretrained(repository, trust_remote_code=False), request)
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise UserError(
            f"{name!r} is a {config.model_type} model, and transformers has no vision-language model of that kind: use "
            f"one that answers in text, such as {PREFIX}:llava-hf/llava-onevision-qwen2-0.5b-ov-hf, or hf:NAME for an "
            "image encoder."
        )
    return repository, config


def _folder(request: Request) -> Any:
    return request.checkpoint or folder_of(request.identifier, PREFIX)


def _fetch(load_with: Any, request: Request) -> Any:
    return fetch(load_with, request, prefix=PREFIX)
