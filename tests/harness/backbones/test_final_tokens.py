"""Final tokens of the sources: those after the final norm, or none."""

from __future__ import annotations

import timm
import torch
import transformers
from torch import Tensor, nn

from harness.backbones.final_tokens import hub_final_tokens, timm_final_tokens, transformers_final_tokens

IMAGES = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))


def test_timm_vits_give_their_tokens_after_the_norm() -> None:
    model = timm.create_model("test_vit", img_size=28, patch_size=7).eval()
    function = timm_final_tokens(model)
    assert function is not None
    with torch.no_grad():
        tokens = function(model, IMAGES)
        assert tokens.shape == (2, 17, 64)
        torch.testing.assert_close(model.get_classifier()(tokens[:, 0]), model(IMAGES))


def test_models_without_normalised_tokens_have_none() -> None:
    assert timm_final_tokens(timm.create_model("test_resnet")) is None
    # The mean of the patches is normalised, and no token is.
    assert timm_final_tokens(timm.create_model("test_vit", global_pool="avg")) is None


def test_transformers_dinov2_has_them_and_others_do_not() -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 7}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**small)).eval()
    function = transformers_final_tokens(model)
    assert function is not None
    with torch.no_grad():
        tokens = function(model, IMAGES)
        torch.testing.assert_close(tokens[:, 0], model(IMAGES).pooler_output)
    assert tokens.shape == (2, 17, 16)
    clip = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**small, intermediate_size=16))
    assert transformers_final_tokens(clip) is None


class DinoVisionTransformer(nn.Module):
    """The interface of the repository's model."""

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        tokens = torch.arange(7.0).reshape(1, 7, 1).expand(len(images), 7, 2)
        parts = {"clstoken": tokens[:, 0], "regtokens": tokens[:, 1:3], "patchtokens": tokens[:, 3:]}
        return {f"x_norm_{name}": part for name, part in parts.items()}


def test_dinov2s_code_gives_them_in_parts() -> None:
    model = DinoVisionTransformer()
    function = hub_final_tokens(model)
    assert function is not None
    assert function(model, IMAGES)[:, :, 0].tolist() == [list(range(7))] * 2
    assert hub_final_tokens(nn.Linear(1, 1)) is None
