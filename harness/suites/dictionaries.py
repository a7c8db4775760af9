"""Trained dictionaries of the command line, ``FILE[:LABEL]``, as entries of a suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError
from harness.suites.schema import MethodEntry

#: Registry name of the method that loads them.
METHOD = "pretrained_sae"
_HUB = "hf:"
_LONGEST_LABEL = 80
_ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def is_weights(text: str) -> bool:
    """Return True for a text that can only be weights of a dictionary: such a file, or an existing folder."""
    return text.endswith(_ENDINGS) or (_exists(text) and Path(text).expanduser().is_dir())


def dictionary_entries(texts: Sequence[str]) -> tuple[MethodEntry, ...]:
    """Return an entry for each ``FILE[:LABEL]``; the label is the name of the file or folder if none is given.

    Raises:
        UserError: if a file does not exist, or two have the same label.
    """
    entries = tuple(_entry(text) for text in texts)
    for weights, count in Counter(str(entry.config["weights"]) for entry in entries).items():
        if count > 1:
            raise UserError(f"--dictionary: {weights!r} is given {count} times, and is one row: give it once.")
    for label, count in Counter(entry.label for entry in entries).items():
        if count > 1:
            raise UserError(
                f"--dictionary: {count} dictionaries have the label {label!r}; give each its own, as in FILE:LABEL."
            )
    return entries


def _entry(text: str) -> MethodEntry:
    file, label = split_label(text)
    is_remote = file.startswith(_HUB)
    if not is_remote and not _exists(file):
        raise UserError(
            f"--dictionary {text[:200]!r}: there is no file or folder {file[:200]!r}. Give weights as FILE or "
            "FILE:LABEL, or hf:USER/NAME."
        )
    if len(label) > _LONGEST_LABEL or not label.isprintable():
        raise UserError(
            f"--dictionary {text[:80]!r}: the label must have at most {_LONGEST_LABEL} characters, all printable."
        )
    weights = file if is_remote else str(Path(file).expanduser().absolute())
    name = file.removeprefix(_HUB) if is_remote else Path(weights).name.removesuffix(".safetensors")
    return MethodEntry(name=METHOD, label=label or name, config={"weights": weights})


def _exists(file: str) -> bool:
    try:
        return Path(file).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a zero byte
        return False


def split_label(text: str) -> tuple[str, str]:
    """Return file and label of ``FILE[:LABEL]``; a file that exists is taken as it is, colons included.

    Raises:
        UserError: if there is no file before the label.
    """
    if not text.strip():
        raise UserError("--dictionary is empty: give the file of a dictionary, as FILE or FILE:LABEL.")
    if _exists(text):
        return text, ""
    prefix = _HUB if text.startswith(_HUB) else ""
    file, _, label = text.removeprefix(prefix).partition(":")
    if not file:
        raise UserError(f"--dictionary {text!r}: give the file of a dictionary, as FILE or FILE:LABEL.")
    return f"{prefix}{file}", label.strip()
