"""Text towers of transformers' two-tower models, for zero-shot classification."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.backbones.base import Backbone
from harness.backbones.text_tower import CLIP_TEMPLATE, SIGLIP_TEMPLATE, TextTower
from methods.errors import UserError, first_line

#: Class of the two-tower model, by the configuration's model type.
MODELS = {
    "siglip": "SiglipModel",
    "clip": "CLIPModel",
    "chinese_clip": "ChineseCLIPModel",
    "metaclip_2": "MetaClip2Model",
}
#: Texts that are embedded at once.
BATCH = 256

#: Allowed difference of the image embedding from the model's own, as a fraction of the largest value.
TOLERANCE = 1e-3

Fetch = Callable[[Callable[[Any], Any]], Any]


def loader(backbone: Backbone, model_type: str, repository: str, fetch: Fetch) -> Callable[[], TextTower] | None:
    """Return the function that loads the text tower of a backbone at its first call, or None if it has none.

    Args:
        model_type: that of the two-tower model's configuration.
        repository: name or folder of the two-tower model.
        fetch: calls a function with the package transformers, and turns its errors into sentences.
    """
    if model_type not in MODELS or not backbone.pretrained:
        return None
    return functools.cache(functools.partial(_load, backbone, model_type, repository, fetch))


def _load(backbone: Backbone, model_type: str, repository: str, fetch: Fetch) -> TextTower:
    model = fetch(lambda package: _pretrained(getattr(package, MODELS[model_type]), repository, backbone.name))
    model.eval().requires_grad_(False)
    try:
        tokenizer = fetch(lambda auto: auto.AutoTokenizer.from_pretrained(repository, trust_remote_code=False))
    except UserError as error:
        raise UserError(
            f"The tokenizer of {backbone.name!r}, which zero-shot classification needs, cannot be read: add its files "
            f"(tokenizer.json, tokenizer_config.json) to the folder. ({first_line(error.__cause__ or error)})"
        ) from error
    _require_vocabulary(tokenizer, backbone.name)
    siglip = model_type == "siglip"
    project = _projection(model)
    _require_same_embedding(backbone, model, project)
    length = int(getattr(model.config.text_config, "max_position_embeddings", 77))
    return TextTower(
        embed=functools.partial(_embed, model, tokenizer, length, siglip, backbone.device),
        project=project,
        scale=float(model.logit_scale.exp()),
        bias=float(model.logit_bias) if hasattr(model, "logit_bias") else 0.0,
        template=SIGLIP_TEMPLATE if siglip else CLIP_TEMPLATE,
        weights={name: value for name, value in model.state_dict().items() if not name.startswith("vision_model.")},
        tokenize=functools.partial(
            _token_ids, tokenizer, int(model.config.text_config.vocab_size), siglip, backbone.name
        ),
        length=length,
    )


def _read_texts(texts: Sequence[str], siglip: bool) -> list[str]:
    """Return the texts as the model was trained on them: SigLIP's in lower case."""
    return [text.lower() if siglip else text for text in texts]


def _require_vocabulary(tokenizer: Any, name: str) -> None:
    """Raise UserError if the tokenizer has no tokens but special ones.

    Without its files, transformers makes such a tokenizer, and does not say so.
    """
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise UserError(
            f"The tokenizer of {name!r}, which zero-shot classification needs, has no words: add its files "
            "(tokenizer.json, tokenizer_config.json) to the folder."
        )


def _token_ids(tokenizer: Any, embeddings: int, siglip: bool, name: str, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each text.

    Raises:
        UserError: if an id has no embedding, so that the tokenizer is that of another model.
    """
    ids: list[list[int]] = tokenizer(_read_texts(texts, siglip))["input_ids"]
    largest = max((token for row in ids for token in row), default=0)
    if largest >= embeddings:
        raise UserError(
            f"The tokenizer of {name!r} is not that of its text tower: it gives the token {largest}, and the tower has "
            f"{embeddings} embeddings. Use the model's own tokenizer."
        )
    return ids


def _pretrained(cls: Any, repository: str, name: str) -> Any:
    options = {"use_safetensors": True, "output_loading_info": True, "dtype": torch.float32}
    model, info = cls.from_pretrained(repository, **options)
    missing = [str(key) for key in (*info["missing_keys"], *(info.get("mismatched_keys") or ()))]
    if missing:
        raise UserError(
            f"The weights of {name!r} have no complete text tower: {len(missing)} parameters are missing or of another "
            f"shape ({', '.join(sorted(missing)[:3])})."
        )
    return model


def _projection(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the map from the vision tower's pooled output to the shared space."""
    layer = getattr(model, "visual_projection", None)
    if not isinstance(layer, nn.Linear):
        return lambda features: features
    weight = layer.weight.detach()
    return lambda features: features @ weight.to(features).T


def _require_same_embedding(backbone: Backbone, model: Any, project: Callable[[Tensor], Tensor]) -> None:
    """Raise UserError unless the backbone's projected features are the two-tower model's own image embeddings."""
    side = backbone.preprocessing.size
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=image).pooler_output
        actual = project(backbone.features(image.to(backbone.device))).cpu()
    if actual.shape != expected.shape or float((actual - expected).abs().max()) > TOLERANCE * float(
        expected.abs().max()
    ):
        raise UserError(
            f"The features of {backbone.name!r} are not the image embeddings of its text tower, so it cannot classify "
            'without training: use head = "probe".'
        )


def _embed(model: Any, tokenizer: Any, length: int, siglip: bool, device: torch.device, texts: Sequence[str]) -> Tensor:
    """Return the text embeddings (n, e) float32 on the CPU.

    SigLIP was trained on lower-case texts of a fixed length, without a mask for the padding.
    """
    padding = "max_length" if siglip else True
    rows = []
    model.text_model.to(device)
    if (projection := getattr(model, "text_projection", None)) is not None:
        projection.to(device)
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            batch = _read_texts(texts[start : start + BATCH], siglip)
            tokens = tokenizer(batch, padding=padding, truncation=True, max_length=length, return_tensors="pt")
            names = ("input_ids",) if siglip else ("input_ids", "attention_mask", "token_type_ids")
            inputs = {name: tokens[name].to(device) for name in names if name in tokens}
            rows.append(model.get_text_features(**inputs).pooler_output.float().cpu())
    return torch.cat(rows)
