"""Trained dictionaries of the command line, ``FILE[:LABEL]``, as entries of a suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError
from harness.suites.schema import MethodEntry

#: Registry name of the method that loads them.
METHOD = "pretrained_sae"
HUB = "hf:"
_LONGEST_LABEL = 80
#: Most letters of a text that are searched for colons.
_MOST_LETTERS = 5000
#: Endings of files that can only be weights.
ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def is_weights(text: str) -> bool:
    """Return True for a text that can only be weights: such a file, a folder, or a path in a repository of the Hub.

    ``hf:OWNER/NAME`` alone can be a backbone or an image set.
    """
    is_hub_path = text.startswith(HUB) and text.count("/") > 1
    return is_hub_path or text.endswith(ENDINGS) or (_exists(text) and Path(text).expanduser().is_dir())


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
    is_remote = file.startswith(HUB)
    if not is_remote and not _exists(file):
        raise UserError(
            f"--dictionary {text[:200]!r}: there is no file or folder {file[:200]!r}. Give weights as FILE or "
            "FILE:LABEL, or hf:USER/NAME[/FOLDER]."
        )
    if len(label) > _LONGEST_LABEL or not label.isprintable():
        raise UserError(
            f"--dictionary {text[:80]!r}: the label must have at most {_LONGEST_LABEL} characters, all printable."
        )
    weights = file if is_remote else str(Path(file).expanduser().absolute())
    name = file.removeprefix(HUB) if is_remote else Path(weights).name.removesuffix(".safetensors")
    return MethodEntry(name=METHOD, label=label or name, config={"weights": weights})


def _exists(file: str) -> bool:
    try:
        return Path(file).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a zero byte
        return False


def split_label(text: str) -> tuple[str, str]:
    """Return file and label of ``FILE[:LABEL]``; of a text with several colons, the longest file that exists is meant.

    Raises:
        UserError: if there is no file before the label.
    """
    if not text.strip():
        raise UserError("--dictionary is empty: give the file of a dictionary, as FILE or FILE:LABEL.")
    if _exists(text):
        return text, ""
    prefix = HUB if text.startswith(HUB) else ""
    colons = [index for index, letter in enumerate(text[:_MOST_LETTERS]) if letter == ":" and index and not prefix]
    for index in reversed(colons):
        if _exists(text[:index]):
            return text[:index], text[index + 1 :].strip()
    file, _, label = text.removeprefix(prefix).partition(":")
    if not file:
        raise UserError(f"--dictionary {text!r}: give the file of a dictionary, as FILE or FILE:LABEL.")
    return f"{prefix}{file}", label.strip()
