"""Reading of folders in the layout of sentence-transformers, with transformers alone.

A folder lists its modules in ``modules.json``: a transformer, a pooling (``1_Pooling/config.json``) and usually a
normalisation. They are read here instead of by the package sentence-transformers, which is not needed. Weights are
read from safetensors only, and no code of a folder is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.backbones.sources.hub import offline_if_unreachable
from harness.datasets import files
from harness.errors import UserError, first_line
from harness.identity import digest
from methods.file_settings import content_of
from results.visible_text import one_line

#: Largest configuration that is read, in bytes.
_MOST_CONFIGURATION = 16 << 20
#: Version of the reading of texts and of the pooling; part of the fingerprint.
_READING = 1
#: Entries of a transformer's configuration that do not change its output.
_UNUSED = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")
#: Files of a tokenizer, and those of its vocabulary, which are read only if there is no ``tokenizer.json``.
_TOKENIZER = "tokenizer.json"
_TOKENIZER_FILES = (_TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
#: Poolings by their entry in configurations up to version 5 of sentence-transformers.
_OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS = ("mean", "cls")
#: Names of the folder of a module; others may lead out of the folder of the model.
_SUBFOLDER = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]*|")


@dataclass(frozen=True)
class Layout:
    """Contents of a folder's configurations that decide on its embeddings.

    Attributes:
        subfolder: name of the folder of the transformer and its tokenizer; empty: the folder itself.
        pooling: ``"mean"`` of the tokens' outputs, or ``"cls"``, the output of the first token.
        max_length: number of tokens per text that are read; None: as many as the model can.
        lower: True if texts are read in lower case.
        prompt: text that is put before each text.
    """

    subfolder: str
    pooling: str
    max_length: int | None
    lower: bool
    prompt: str


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
            and a normalisation, or if its weights are missing, incomplete or not safetensors.
    """
    layout = layout_of(folder, name)
    transformer = folder / layout.subfolder
    _require_safetensors(transformer, name)
    config, tokenizer, model = _parts(transformer, name)
    positions = getattr(config, "max_position_embeddings", None) or 512
    stated = layout.max_length or min(positions, tokenizer.model_max_length)
    description = {
        **{"reading": _READING, "pooling": layout.pooling, "length": stated, "lower": layout.lower},
        **{"prompt": layout.prompt, "files": _hashes(transformer)},
        # The file, not what transformers makes of it, to which later versions may add entries.
        "config": _without_unused(_json(transformer / "config.json", name)),
    }
    return SentenceModel(model, tokenizer, layout, stated, digest(description))


def layout_of(folder: Path, name: str) -> Layout:
    """Return the layout that a folder's configurations state.

    Raises:
        UserError: if they cannot be read, or state modules, poolings or prompts that are not supported.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {str(folder)!r}: give the folder of a SentenceTransformer.")
    if not (folder / "modules.json").exists():
        if not (folder / "config.json").exists():
            raise UserError(
                f"The folder {name!r} has no modules.json and no config.json: give that of a SentenceTransformer."
            )
        return Layout("", "mean", None, lower=False, prompt="")
    kinds = _modules(folder, name)
    transformer = folder / kinds["Transformer"]
    pooling = _pooling(_json(folder / kinds["Pooling"] / "config.json", name), name) if "Pooling" in kinds else "mean"
    stated = _optional_json(transformer / "sentence_bert_config.json", name)
    length = stated.get("max_seq_length")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 3):
        raise UserError(
            f"max_seq_length in sentence_bert_config.json of {name!r} is {length!r}, and must be 3 or more."
        )
    prompt = _prompt(_optional_json(folder / "config_sentence_transformers.json", name), name)
    return Layout(kinds["Transformer"], pooling, length, lower=stated.get("do_lower_case") is True, prompt=prompt)


def _modules(folder: Path, name: str) -> dict[str, str]:
    """Return kind -> subfolder of the modules of a folder: Transformer, perhaps Pooling, perhaps Normalize."""
    content = _json(folder / "modules.json", name, kind=list)
    modules = [module if isinstance(module, Mapping) else {} for module in content]
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    paths = [module.get("path", "") for module in modules]
    if kinds not in (["Transformer"], ["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UserError(
            f"The modules of {name!r} are {', '.join(map(one_line, kinds)) or 'none'}; supported are Transformer, "
            "Pooling and Normalize in this order. Use another SentenceTransformer, such as all-MiniLM-L6-v2."
        )
    for path in paths:
        if not isinstance(path, str) or not _SUBFOLDER.fullmatch(path):
            raise UserError(
                f"modules.json of {name!r} names the folder {path!r}, which is no plain name of a subfolder."
            )
    return dict(zip(kinds, paths, strict=True))


def _pooling(config: Mapping[str, Any], name: str) -> str:
    """Return the pooling that a configuration states."""
    stated = config.get("pooling_mode", [mode for entry, mode in _OLD_POOLINGS.items() if config.get(entry)])
    modes = [stated] if isinstance(stated, str) else list(stated) if isinstance(stated, list) else [str(stated)]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise UserError(
            f"The pooling of {name!r} is {' and '.join(map(str, modes)) or 'not stated'}; supported are "
            f"{' and '.join(_POOLINGS)}. Use another SentenceTransformer, such as all-MiniLM-L6-v2."
        )
    if config.get("include_prompt", True) is not True:
        raise UserError(f"The pooling of {name!r} leaves a prompt out (include_prompt), which is not supported.")
    return str(modes[0])


def _prompt(config: Mapping[str, Any], name: str) -> str:
    """Return the text that the model puts before each text by default."""
    default = config.get("default_prompt_name")
    prompts = config.get("prompts") or {}
    prompt = prompts.get(default, None) if isinstance(prompts, Mapping) and isinstance(default, str) else ""
    if not isinstance(prompt, str):
        raise UserError(
            f"config_sentence_transformers.json of {name!r} has no prompt {default!r}, its default: add it."
        )
    return prompt


def _require_safetensors(folder: Path, name: str) -> None:
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
        with offline_if_unreachable(local=True), _quiet():
            config = transformers.AutoConfig.from_pretrained(folder, **options)
            if config.is_encoder_decoder:
                raise UserError(f"{name!r} is a model with a decoder, which is not supported: use an encoder.")
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            model, info = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **options
            )
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the reports and bars of transformers within the context."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


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


def _optional_json(path: Path, name: str) -> dict[str, Any]:
    return _json(path, name) if path.exists() else {}


def _json(path: Path, name: str, *, kind: type = dict) -> Any:
    try:
        content = json.loads(files.read(path, _MOST_CONFIGURATION))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path.name!r} of {name!r} cannot be read ({first_line(error)}): download it again."
        ) from error
    if not isinstance(content, kind):
        form = "an object" if kind is dict else "a list"
        raise UserError(f"{path.name!r} of {name!r} must hold {form} of JSON: download it again.")
    return content
