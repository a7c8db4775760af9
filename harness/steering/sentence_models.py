"""Loading of SentenceTransformers with transformers alone; the package sentence-transformers is not needed.

Weights are read from safetensors only, and no code of a folder is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.backbones.sources.hub import offline_if_unreachable
from harness.backbones.sources.huggingface_fetch import quiet
from harness.errors import UserError, first_line
from harness.identity import digest
from harness.steering.sentence_layout import Layout, layout_of, read_json
from methods.file_settings import content_of

#: Version of the reading of texts and of the pooling; part of the fingerprint.
_READING = 1
#: Entries of a transformer's configuration that do not change its output.
_UNUSED = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")
#: Files of a tokenizer, and those of its vocabulary, which are read only if there is no ``tokenizer.json``.
_TOKENIZER = "tokenizer.json"
_TOKENIZER_FILES = (_TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")


@dataclass(frozen=True)
class SentenceModel:
    """Transformer with its tokenizer, pooling and fingerprint.

    Attributes:
        model: maps token ids (B, T) and their mask to ``last_hidden_state`` (B, T, d).
        tokenizer: of transformers.
        max_length: number of tokens per text that are read, special ones included.
        fingerprint: hash of everything that the embeddings depend on.
    """

    model: Any
    tokenizer: Any
    layout: Layout
    max_length: int
    fingerprint: str


def load(folder: Path, name: str) -> SentenceModel:
    """Load a folder of a SentenceTransformer, or of a plain transformer, whose tokens' outputs are then averaged.

    Args:
        name: how the model is called in messages.

    Raises:
        UserError: if the folder cannot be read, has modules other than a transformer, a pooling of the kind mean or cls
            and a normalisation, or if its weights are missing, incomplete, not finite or not safetensors.
    """
    layout = layout_of(folder, name)
    transformer = folder / layout.subfolder
    _require_safetensors(transformer, name)
    configuration = read_json(transformer / "config.json", name)
    _require_plain_attention(configuration, name)
    config, tokenizer, model = _parts(transformer, name)
    positions = getattr(config, "max_position_embeddings", None) or 512
    length = min(layout.max_length or tokenizer.model_max_length, positions)
    _require_embeddings(model, tokenizer.cls_token_id or 0, length, name)
    description = {
        **{"reading": _READING, "pooling": layout.pooling, "length": length, "lower": layout.lower},
        **{"prompt": layout.prompt, "files": _hashes(transformer)},
        # The file, not what transformers makes of it, to which later versions may add entries.
        "config": _without_unused(configuration),
    }
    return SentenceModel(model, tokenizer, layout, length, digest(description))


def _require_safetensors(folder: Path, name: str) -> None:
    if (folder / "adapter_config.json").exists():
        # transformers would load it, too, and the model it names.
        raise UserError(f"The folder of {name!r} holds an adapter of another model: merge the two and save the result.")
    if any((folder / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json")):
        return
    pickled = any((folder / file).exists() for file in ("pytorch_model.bin", "pytorch_model.bin.index.json"))
    reason = "only pickled weights, which are not read" if pickled else "no weights"
    raise UserError(f"The folder of {name!r} has {reason}: save the model with safe_serialization=True.")


def _parts(folder: Path, name: str) -> tuple[Any, Any, nn.Module]:
    """Return configuration, tokenizer and model of a folder."""
    import transformers

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with offline_if_unreachable(local=True), quiet():
            config = transformers.AutoConfig.from_pretrained(folder, **options)
            _require_text_encoder(config, name)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            options |= {"attn_implementation": "eager", "use_safetensors": True, "dtype": torch.float32}
            model, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True, **options)
    except UserError:
        raise
    except Exception as error:  # OSError, ValueError and those of safetensors and tokenizers, without a common base
        raise UserError(
            f"{name!r} cannot be read as a transformer with its tokenizer: it needs config.json, model.safetensors and "
            f"tokenizer.json. ({first_line(error)})"
        ) from error
    _require_complete(model, info, name)
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise UserError(f"The tokenizer of {name!r} has no words: add its files (tokenizer.json) to the folder.")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise UserError(
            f"The tokenizer of {name!r} has {len(tokenizer)} tokens, and the model has embeddings of {rows}: use the "
            "model's own tokenizer."
        )
    return config, tokenizer, model.eval().requires_grad_(False)


def _require_text_encoder(config: Any, name: str) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{name!r} is a model with a decoder, which is not supported: use an encoder.")
    if not isinstance(getattr(config, "vocab_size", None), int):
        raise UserError(f"{name!r} is a {config.model_type} model, which reads no texts: use a model of texts.")


def _require_plain_attention(config: dict[str, Any], name: str) -> None:
    """Raise UserError if a configuration names an attention, which transformers may download as code of the Hub."""
    for entry in ("attn_implementation", "_attn_implementation"):
        if config.get(entry) not in (None, "eager", "sdpa"):
            raise UserError(
                f"config.json of {name!r} names the attention {config[entry]!r}, which may be code of the Hub: remove "
                f"the entry {entry}."
            )


def _require_embeddings(model: Any, token: int, length: int, name: str) -> None:
    """Raise UserError unless the model gives finite outputs for a text of its full length."""
    ids = torch.full((1, length), token)
    try:
        with torch.inference_mode():
            hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    except Exception as error:  # of any layer
        raise UserError(
            f"{name!r} cannot read a text of {length} tokens ({first_line(error)}): correct max_seq_length in its "
            "sentence_bert_config.json."
        ) from error
    if not bool(torch.isfinite(hidden).all()):
        raise UserError(f"The weights of {name!r} give outputs that are not finite: download or save the model again.")


def _require_complete(model: Any, info: Mapping[str, Any], name: str) -> None:
    """Raise UserError if weights are missing; a pooler, which is not used, is removed."""
    if getattr(model, "pooler", None) is not None:
        # Random if it is missing, and it would make the fingerprint random too.
        model.pooler = None
    missing = [str(key) for key in (*info["missing_keys"], *(info.get("mismatched_keys") or ()))]
    missing = sorted(key for key in missing if not key.startswith("pooler."))
    if missing:
        raise UserError(
            f"The weights of {name!r} are incomplete: {len(missing)} parameters are missing or of another shape "
            f"({', '.join(missing[:3])}). Download or save the model again."
        )


def _hashes(folder: Path) -> dict[str, str]:
    """Return the hash of each file of the weights and the tokenizer."""
    weights = [path.name for path in folder.glob("model*.safetensors*")]
    vocabularies = () if (folder / _TOKENIZER).is_file() else _VOCABULARIES
    present = (folder / name for name in (*weights, *_TOKENIZER_FILES, *vocabularies) if (folder / name).is_file())
    return {path.name: content_of(path) for path in present}


def _without_unused(config: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a configuration that its output may depend on; infinite numbers as texts."""
    used = {key: value for key, value in config.items() if key not in _UNUSED}
    return dict(json.loads(json.dumps(used), parse_constant=str))
