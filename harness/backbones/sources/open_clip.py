"""Image towers of open_clip models, with pretrained weights, a local checkpoint or random weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.backbones.base import Backbone, last_path
from harness.backbones.sources.base import Request, download_error, origin, require
from harness.backbones.sources.checkpoint import fill, read_state_dict
from harness.backbones.sources.hub import offline_if_unreachable
from harness.backbones.sources.open_clip_record import ClipRecord, hub_repository, preprocessing_of, record_of
from harness.backbones.sources.open_clip_text import text_tower
from harness.backbones.sources.root_logger import root_logger_unchanged
from harness.backbones.sources.timm import suggested_site
from harness.backbones.sources.wrapper_prefixes import unwrap
from harness.backbones.token_layout import prefix_tokens
from methods.errors import UserError, first_line

# Tensors of OpenAI's files that state the architecture.
_STATED = ("input_resolution", "context_length", "vocab_size")
# Tensors of text encoders of older versions of transformers, which follow from the shape.
_POSITIONS = "text.transformer.embeddings.position_ids"


def load(request: Request) -> Backbone:
    """Load the image tower of the open_clip model ``request.identifier`` (``ARCH/TAG``).

    Its features are the image embedding in the space that it shares with the text tower, before normalisation. The tag
    may be left out with a local checkpoint, which holds both towers, and with random weights.

    Raises:
        UserError: if open_clip is missing, for an unknown name (the message names the nearest), a failed download, a
            checkpoint that does not fit, or a preprocessing that :class:`Preprocessing` cannot express.
    """
    require("open_clip", "open_clip_torch", request.spec)
    import open_clip

    record = record_of(request)
    # Checked before the model is made, which can take long.
    preprocessing = preprocessing_of(record, request.spec)
    file = request.checkpoint
    if file is None and request.weights:
        file = _download(record, request)
    model = _untrained(record, request.spec)
    notes = record.notes
    if file is not None:
        notes += _fill(model, file, record, resize=request.checkpoint is None)
    model.eval().requires_grad_(False)
    visual: nn.Module = model.visual
    repository, _ = hub_repository(record.architecture, record.tag)
    source, license_ = origin(request, f"open_clip {open_clip.__version__}", f"see the card of {repository}")
    return Backbone(
        name=request.spec,
        title=request.identifier,
        model=visual.to(request.device),
        preprocessing=preprocessing,
        n_prefix_tokens=prefix_tokens(getattr(visual, "trunk", visual)),
        default_site=default_site(visual),
        source=source,
        license=license_,
        pretrained=request.weights,
        pool=embedding,
        notes=notes,
        reading={"open_clip": record.identity()},
        text_tower=partial(text_tower, model, record, request.spec),
    )


def embedding(model: nn.Module, images: Tensor) -> Tensor:
    """Return the image embedding (B, d), of any length: the output of the image tower without CoCa's tokens."""
    output = model(images)
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result


def default_site(visual: nn.Module) -> str | None:
    """Return the path of the output layer of the last block's MLP, else of the last dense 1x1 convolution, or None.

    In all of open_clip's blocks the MLP is called ``mlp``, and its output layer, linear or a 1x1 convolution, is the
    last one in it. The MLPs of the attention pool and of the projection come after all blocks.
    """

    def accepts(path: str, module: nn.Module) -> bool:
        parents = path.split(".")[:-1]
        dense = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
        return dense and "mlp" in parents and not {"attn_pool", "head"} & set(parents)

    return last_path(visual, accepts) or suggested_site(visual)


def _untrained(record: ClipRecord, spec: str) -> Any:
    """Return the model of both towers with random weights of a fixed seed; the global generator's state is restored.

    The configuration of a text tower of transformers is read from the hub or its cache.
    """
    import open_clip

    encoder = record.config["text_cfg"].get("hf_model_name")
    if encoder:
        require("transformers", "transformers", spec)
    try:
        with torch.random.fork_rng(devices=[]), root_logger_unchanged(), offline_if_unreachable():
            torch.manual_seed(0)
            return open_clip.create_model(
                record.architecture,
                force_quick_gelu=record.quick_gelu,
                load_weights=False,
                pretrained_image=False,
                pretrained_text=False,
            )
    except Exception as error:  # whatever open_clip, timm and transformers raise
        reason = (
            f"Its text tower needs the configuration of {encoder!r} from the Hugging Face hub or its cache. "
            if encoder
            else ""
        )
        raise UserError(f"{spec!r} cannot be created. {reason}({first_line(error)})") from error


def _download(record: ClipRecord, request: Request) -> Path:
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    try:
        with root_logger_unchanged(), offline_if_unreachable():
            return Path(download_pretrained(get_pretrained_cfg(record.architecture, record.tag)))
    except Exception as error:  # the hub clients raise errors of several libraries, without a common base
        raise download_error(request.spec, error) from error


def _fill(model: Any, file: Path, record: ClipRecord, *, resize: bool) -> tuple[str, ...]:
    """Load the weights of both towers, and return notes on tensors that were left out."""
    state, notes = unwrap(
        read_state_dict(file),
        model.state_dict(),
        file=file.name,
        architecture=record.architecture,
        convert=partial(_converted, model=model, resize=resize),
    )
    fill(model, state, checkpoint=file.name, architecture=record.architecture)
    return notes


def _converted(state: dict[str, Tensor], *, model: Any, resize: bool) -> dict[str, Tensor]:
    """Return the tensors under the names of ``model``, converted as by ``open_clip.load_checkpoint``.

    Position embeddings are resized only if ``resize``: the name of the architecture states the input size.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    state = convert_state_dict(model, {name: tensor for name, tensor in state.items() if name not in _STATED})
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    if _POSITIONS in state and _POSITIONS not in model.state_dict():
        del state[_POSITIONS]
    for name in ("logit_scale", "logit_bias"):  # saved with the shape () or (1,)
        parameter = getattr(model, name)
        if name in state and parameter is not None and state[name].numel() == 1:
            state[name] = state[name].reshape(parameter.shape)
    if resize:
        resize_pos_embed(state, model)
        resize_text_pos_embed(state, model)
    return state
