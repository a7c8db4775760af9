"""Text towers of open_clip models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.backbones.sources.base import require
from harness.backbones.sources.hub import offline_if_unreachable
from harness.backbones.sources.open_clip_record import ClipRecord
from harness.backbones.sources.root_logger import root_logger_unchanged
from harness.backbones.text_tower import CLIP_TEMPLATE, SIGLIP_TEMPLATE, TextTower
from methods.errors import UserError, first_line

#: Texts per forward pass.
_BATCH = 256


def text_tower(model: Any, record: ClipRecord, spec: str) -> TextTower:
    """Return the text tower of a loaded open_clip model, which moves to the device of its image tower.

    The features of the image tower are in the shared space already. SigLIP models, which have a bias, get their own
    template.

    Raises:
        UserError: if the tokenizer cannot be loaded.
    """
    tokenizer = _tokenizer(record, spec)
    model.to(next(model.visual.parameters()).device)

    def embed(texts: Sequence[str]) -> Tensor:
        if not texts:
            raise ValueError("There are no texts to embed.")
        device = model.logit_scale.device
        with torch.no_grad():
            parts = [
                model.encode_text(tokenizer(list(texts[start : start + _BATCH])).to(device), normalize=False)
                for start in range(0, len(texts), _BATCH)
            ]
        return torch.cat(parts).float().cpu()

    bias = model.logit_bias
    return TextTower(
        embed=embed,
        project=lambda features: features,
        scale=float(model.logit_scale.detach().exp()),
        bias=0.0 if bias is None else float(bias.detach()),
        template=CLIP_TEMPLATE if bias is None else SIGLIP_TEMPLATE,
        weights={
            name: tensor
            for name, tensor in model.state_dict().items()
            if not name.startswith(("visual.", "text_decoder."))  # CoCa's decoder writes captions
        },
        tokenize=lambda texts: _token_ids(tokenizer, texts),
        # CLIPA's tokenizers choose the words that fit.
        length=None if getattr(tokenizer, "reduction_fn", None) is not None else int(tokenizer.context_length),
    )


def _token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each text, not cut, for tokenizers of CLIP and of transformers; else those that are read.

    Start and end tokens are included, as they count.
    """
    if hasattr(tokenizer, "encode"):
        return [[tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id] for text in texts]
    if hasattr(tokenizer, "clean_fn") and not getattr(tokenizer, "tokenizer_mode", ""):
        ids: list[list[int]] = tokenizer.tokenizer([tokenizer.clean_fn(text) for text in texts]).input_ids
        return ids
    read: list[list[int]] = tokenizer(list(texts)).tolist()
    return read


def _tokenizer(record: ClipRecord, spec: str) -> Any:
    from open_clip import get_tokenizer

    name = record.config["text_cfg"].get("hf_tokenizer_name")
    if name:
        require("transformers", "transformers", spec)
    try:
        with root_logger_unchanged(), offline_if_unreachable():
            return get_tokenizer(record.architecture)
    except Exception as error:  # OSError, ValueError, ImportError and the hub clients' own, without a common base
        what = f"The tokenizer {name!r}" if name else "The tokenizer"
        raise UserError(
            f"{what} of {spec!r} is not on this machine and could not be downloaded; without it the texts of a "
            f"zero-shot head cannot be read. Load it once with network access. ({first_line(error)})"
        ) from error
