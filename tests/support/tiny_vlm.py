"""Tiny vision-language models with random weights as local folders, which the real vLLM loads on a CPU.

What such a model says is nonsense, but it ends its strings: every embedding of a word has the same number in its first
place, and so have the output rows of tokens with a quotation mark, comma, colon or brace (and the opposite those of
white space, in which a random model loops until it is cut off). Which of A and B it says depends on what it saw.

    python tests/support/tiny_vlm.py FOLDER qwen3_vl|qwen3_vl_moe|gemma3|internvl [--seed N] [--px N]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

TEXT = ['You see two grids of nine images each. {"reasoning_a": "it shows one concept", "answer": "A" or "B"}'] * 4
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPECIAL = {
    "qwen": [*QWEN, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    "gemma3": [
        "<pad>",
        "<eos>",
        "<bos>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<start_of_image>",
        "<end_of_image>",
        "<image_soft_token>",
    ],
    "internvl": [*QWEN, "<img>", "</img>", "<IMG_CONTEXT>", "<video>"],
}
USUAL = {kind: {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"} for kind in ("qwen", "internvl")}
USUAL["gemma3"] = {"eos_token": "<end_of_turn>", "pad_token": "<pad>", "bos_token": "<bos>"}
FURTHER = {  # attributes of the tokenizer that the family's processor asks for
    "gemma3": {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
}
IMAGE = {
    "qwen": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma3": "<start_of_image>",
    "internvl": "<IMG_CONTEXT>\n",
}
PARTS = "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% else %}IMAGE{% endif %}{% endfor %}"
TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\nPARTS<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
GEMMA = (
    "<bos>{% for m in messages %}<start_of_turn>{{ m.role }}\nPARTS<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
)
HEADS = {"num_attention_heads": 2, "num_hidden_layers": 2}
WORDS = {
    **HEADS,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32768,
}
VISION = {**HEADS, "hidden_size": 64, "intermediate_size": 96, "patch_size": 14}


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    if kind == "gemma3":  # vLLM looks for line feeds in Gemma's vocabulary as they are
        words = [*SPECIAL[kind], "<unk>", *(f"<0x{n:02X}>" for n in range(256)), *map(chr, range(33, 127)), "\u2581"]
        words += ["\n" * n for n in range(1, 5)]
        merges = [("\n", "\n"), ("\n\n", "\n"), ("\n\n", "\n\n")]
        inner = Tokenizer(
            models.BPE(
                {word: number for number, word in enumerate(words)}, merges, unk_token="<unk>", byte_fallback=True
            )
        )
        inner.normalizer = normalizers.Replace(" ", "\u2581")
        inner.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
        inner.add_special_tokens(SPECIAL[kind])
    else:
        inner, byte_level = Tokenizer(models.BPE()), pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.pre_tokenizer, inner.decoder = byte_level, decoders.ByteLevel()
        trainer_options = {"initial_alphabet": byte_level.alphabet(), "special_tokens": SPECIAL[kind]}
        inner.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=320, **trainer_options))
    template = (GEMMA if kind == "gemma3" else TURN).replace("PARTS", PARTS).replace("IMAGE", IMAGE[kind])
    named = {**USUAL[kind], "extra_special_tokens": FURTHER.get(kind, {}), "chat_template": template}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=32768, **named)


def files_of(family: str, tokenizer: PreTrainedTokenizerFast, px: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's configuration, and the files of its processor."""
    ids, half = tokenizer.convert_tokens_to_ids, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    text = {**WORDS, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    if family.startswith("qwen3_vl"):
        rope = {"rope_type": "default", "mrope_section": [8, 4, 4], "mrope_interleaved": True, "rope_theta": 5e6}
        text |= {"head_dim": 32, "rope_parameters": rope}
        if family == "qwen3_vl_moe":
            text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
        vision = {**VISION, "num_heads": 2, "depth": 2, "out_hidden_size": 64, "deepstack_visual_indexes": [0],
                  "num_position_embeddings": 2304, "patch_size": 16}  # fmt: skip
        marks = {f"{name}_token_id": ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
        marks |= {f"{name}_token_id": ids(f"<|{name}_pad|>") for name in ("image", "video")}
        most = px * px or 4096 * 4096
        shared = {
            **half,
            "patch_size": 16,
            "merge_size": 2,
            "temporal_patch_size": 2,
            "processor_class": "Qwen3VLProcessor",
        }
        images = {"size": {"shortest_edge": min(65536, most), "longest_edge": most}}
        videos = {"size": {"shortest_edge": 4096, "longest_edge": 131072}}
        files = {
            "preprocessor": {**shared, **images, "image_processor_type": "Qwen2VLImageProcessorFast"},
            "video_preprocessor": {**shared, **videos, "video_processor_type": "Qwen3VLVideoProcessor"},
        }
        return {"text_config": text, "vision_config": vision, "tie_word_embeddings": False, **marks}, files
    side = px or {"gemma3": 896, "internvl": 448}[family]
    size = {"height": side, "width": side}
    if family == "gemma3":
        text |= {"head_dim": 32, "sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"],
                 "query_pre_attn_scalar": 32}  # fmt: skip
        tokens = (side // 56) ** 2
        marks = {
            f"{name}_token_index": ids(token)
            for name, token in zip(("boi", "eoi", "image"), FURTHER[family].values(), strict=True)
        }
        marks["mm_tokens_per_image"] = tokens
        processor_options = {
            "image_processor_type": "Gemma3ImageProcessor",
            "do_pan_and_scan": None,
            "image_seq_length": tokens,
        }
        name = "Gemma3Processor"
    else:
        text["model_type"], tokens = "qwen2", (side // 28) ** 2
        marks = {"image_token_id": ids("<IMG_CONTEXT>"), "image_seq_length": tokens, "tie_word_embeddings": False}
        processor_options = {
            "image_processor_type": "GotOcr2ImageProcessorFast",
            "max_patches": 12,
            "crop_to_patches": False,
        }
        name = "InternVLProcessor"
    vision = (
        {**VISION, "image_size": side}
        if family == "gemma3"
        else {**VISION, "image_size": [side] * 2, "patch_size": [14] * 2}
    )
    files = {"preprocessor": {**half, "size": size, **processor_options, "processor_class": name},
             "processor": {"image_seq_length": tokens, "processor_class": name}}  # fmt: skip
    return {"text_config": text, "vision_config": vision, **marks}, files


@torch.no_grad()
def write(folder: Path, family: str, seed: int = 0, px: int = 0) -> None:
    """Write a model of a family.

    Args:
        px: side of the pictures that it looks at, a multiple of 112; 0: the family's own.
    """
    tokenizer = tokenizer_of("qwen" if family.startswith("qwen") else family)
    config, files = files_of(family, tokenizer, px)
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(family, **config)).to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:  # wider than the usual 0.02, so that what is seen matters
            parameter.normal_(0.0, 0.1 if "embed" in name or "head" in name else 0.15)
        if name.endswith(("o_proj.weight", "down_proj.weight", "experts.down_proj")) and "vision" not in name:
            parameter[..., 0, :] = 0.0  # no layer writes to the first place
    words, out = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    words[:, 0] = words.std() * 4
    for token, row in tokenizer.get_vocab().items():
        text = tokenizer.convert_tokens_to_string([token])
        out[row, 0] += 1.5 if set(text) & set('",:}') else 0.0 if text.strip() else -1.5
    model.save_pretrained(folder)
    # Named and laid out as in the published checkpoints, which transformers 5 writes otherwise than vLLM reads them.
    weights = load_file(folder / "model.safetensors")
    if family == "gemma3":
        weights = {k.replace("vision_tower.", "vision_tower.vision_model."): w for k, w in weights.items()}
    weights = {k: w.transpose(1, 2).contiguous() if "experts." in k else w for k, w in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    for name, content in files.items():
        (folder / f"{name}_config.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("family", choices=["qwen3_vl", "qwen3_vl_moe", "gemma3", "internvl"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--px", type=int, default=0, help="0: the family's own")
    write(**vars(parser.parse_args()))
