"""Tiny random CLIP and SigLIP with tokenizers of their own, written as transformers reads them."""

from __future__ import annotations

import json
from pathlib import Path

SIDE, WIDTH = 32, 16
SENTENCES = ["a photo of a blue.", "This is a photo of red.", "a photo of a fox in the snow.", "bird", "polar bear"]


def save_clip(folder: Path) -> None:
    """Save a tiny random CLIP with a byte-pair tokenizer of single letters."""
    import string

    import transformers

    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    ends = {"bos_token_id": vocabulary["<|startoftext|>"], "eos_token_id": vocabulary["<|endoftext|>"]}
    shape = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**shape, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 40, "projection_dim": 12}
    vision = {**shape, "image_size": SIDE, "patch_size": 8, "projection_dim": 12}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)


def save_siglip(folder: Path, embeddings: int | None = None) -> None:
    """Save a tiny random SigLIP with a word tokenizer of fixed length, and an embedding for each word by default."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({word for text in SENTENCES for word in text.lower().replace(".", " .").split()})
    vocabulary = {"<pad>": 0, "<unk>": 1, **{word: index + 2 for index, word in enumerate(words)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    shape = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    n_tokens = embeddings or len(vocabulary)
    text = {**shape, "vocab_size": n_tokens, "max_position_embeddings": 16, "projection_size": WIDTH}
    config = transformers.SiglipConfig(text_config=text, vision_config={**shape, "image_size": SIDE, "patch_size": 8})
    transformers.SiglipModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
