"""Tiny LLaVA-OneVision with random weights as a local folder: a SigLIP tower, a Qwen2 text model and a processor.

The weights are wider than usual, so that the caption depends on the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {% for p in m.content %}{% if p.type == 'text' %}\n{{ p.text }}"
    "{% else %}<image>{% endif %}{% endfor %}<|im_end|>{% endfor %}<|im_start|>assistant\n"
)
#: Side of a view and of a patch in pixels, and the sizes (height, width) into which an image is cut.
SIDE, PATCH, PINPOINTS = 32, 8, [[32, 32], [32, 64], [64, 32], [64, 64]]
WIDTH, HIDDEN, LAYERS = 24, 40, 3


def tokenizer() -> Any:
    inner, byte_level = Tokenizer(models.BPE()), pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.pre_tokenizer, inner.decoder = byte_level, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=byte_level.alphabet(), special_tokens=SPECIAL)
    inner.train_from_iterator(["user assistant Describe this image in one sentence."] * 4, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={"image_token": "<image>", "video_token": "<video>"},
    )


def processor(words: Any) -> Any:
    size = {"height": SIDE, "width": SIDE}
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=PINPOINTS, **half),
        tokenizer=words,
        video_processor=transformers.LlavaOnevisionVideoProcessor(size=size, **half),
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
    )


def config(words: Any, *, feature_layer: int = -1) -> Any:
    heads = {"num_attention_heads": 2}
    return transformers.LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": WIDTH, "intermediate_size": HIDDEN, "patch_size": PATCH,
            "image_size": SIDE, "num_hidden_layers": LAYERS, "vision_use_head": False, **heads,
        },
        text_config={
            "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_key_value_heads": 1, "vocab_size": len(words), "max_position_embeddings": 1024,
            "eos_token_id": words.eos_token_id, "bos_token_id": None, **heads,
        },
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=feature_layer,
    )  # fmt: skip


@torch.no_grad()
def write(folder: Path, seed: int = 0, *, feature_layer: int = -1) -> Path:
    """Write the model to a folder and return it."""
    words = tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.LlavaOnevisionForConditionalGeneration(config(words, feature_layer=feature_layer))
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3 if parameter.ndim > 1 else 0.1)
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    # As in the published models, which sample unless they are told otherwise.
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=20)
    model.save_pretrained(folder)
    processor(words).save_pretrained(folder)
    return folder
