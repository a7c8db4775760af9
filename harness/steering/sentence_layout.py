"""Configurations of folders in the layout of sentence-transformers: which modules, and how texts are read.

A folder lists its modules in ``modules.json``: a transformer, a pooling (``1_Pooling/config.json``) and usually a
normalisation. The configurations may be anybody's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.datasets import files
from harness.errors import UserError, first_line
from results.visible_text import one_line

#: Largest configuration that is read, in bytes.
_MOST_CONFIGURATION = 16 << 20
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
    pooling = (
        _pooling(read_json(folder / kinds["Pooling"] / "config.json", name), name) if "Pooling" in kinds else "mean"
    )
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
    content = read_json(folder / "modules.json", name, kind=list)
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


def _optional_json(path: Path, name: str) -> dict[str, Any]:
    return read_json(path, name) if path.exists() else {}


def read_json(path: Path, name: str, *, kind: type = dict) -> Any:
    """Return the content of a JSON file, which must be a mapping or, if ``kind`` is list, a list.

    Raises:
        UserError: if it cannot be read, or holds something else.
    """
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
