"""A SentenceTransformer of a few thousand parameters with random weights, in the layout of such models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TEXT = "dog cat house golden retriever tea cup red striped wheel car tabby black white and the a of sky"
WORDS = _TEXT.split()

MODULES = (
    ("", "sentence_transformers.models.Transformer"),
    ("1_Pooling", "sentence_transformers.models.Pooling"),
    ("2_Normalize", "sentence_transformers.models.Normalize"),
)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def sentence_folder(folder: Path, *, pooling: str = "mean", modules: int = 3, seed: int = 0, length: int = 16) -> Path:
    """Save a BERT with a tokenizer of whole words, and the configurations of its first ``modules`` modules."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(**size, vocab_size=len(tokens), max_position_embeddings=32)
    torch.manual_seed(seed)
    model = transformers.BertModel(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            # The default scale is so small that all embeddings are nearly equal.
            torch.nn.init.normal_(parameter, std=0.5)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if modules:
        rows = [
            {"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(MODULES[:modules])
        ]
        write_json(folder / "modules.json", rows)
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
        old = {
            f"pooling_mode_{entry}": entry.startswith(pooling) for entry in ("cls_token", "mean_tokens", "max_tokens")
        }
        write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **old})
    return folder
