"""Choice of the files of a repository of the Hugging Face Hub that weights consist of, by their names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from methods.errors import UserError
from methods.pretrained.reference import PREFIX, SUFFIX, SUFFIXES, HubFile
from methods.pretrained.weight_formats import FORMATS
from methods.registry import nearest
from results.visible_text import names_text

#: Name of the file that ``harness push`` writes.
_PUSHED = "model.safetensors"
#: Most names in a message.
_MOST_NAMES = 10


class Choice(NamedTuple):
    """Files of a repository that are tried as weights."""

    path: str
    """the file, or the folder that the files are in; empty: the root"""
    files: tuple[str, ...]
    """paths in the repository, in the order in which they are downloaded"""
    is_folder: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files within the folder."""
        return tuple(file.rpartition("/")[2] for file in self.files)


def choices(wanted: HubFile, files: Sequence[str], also: Collection[str] = ()) -> list[Choice]:
    """Return the folder or file that a reference means, the preferred one first, of which the first that fits is read.

    Args:
        wanted: the reference.
        files: paths of the files of the repository.
        also: names of files that settings name, which are read if the folder has them.

    Raises:
        UserError: if there is none, or if several are meant; the message names them.
    """
    path = wanted.file
    if path in files:
        return [_file(wanted, str(path), files)]
    inside = [file for file in files if path is None or file.startswith(f"{path}/")]
    if path is not None and not inside:
        folders = {file[:index] for file in files for index, letter in enumerate(file) if letter == "/"}
        candidates = sorted({*files, *folders})
        raise UserError(
            f"{PREFIX}{wanted.repository} has no file or folder {path!r}. {nearest(str(path), candidates)}"
            f"It has {names_text(sorted(weights_of(files)), _MOST_NAMES)}."
        )
    folder = _folder(path or "", inside, also)
    below = [_folder(name, inside, also) for name in sorted({_parent(file) for file in inside} - {path or ""})]
    folders_below = [choice for choice in below if choice is not None]
    if folder is None and len(folders_below) == 1 and _all_in(folders_below[0], inside):
        folder = folders_below[0]
    in_folders = {file for choice in folders_below for file in choice.files} if len(folders_below) > 1 else set()
    files_alone = _alone(path or "", [file for file in inside if file not in in_folders])
    chosen = [choice for choice in (folder, files_alone) if choice is not None]
    if not chosen:
        raise _refusal(wanted, inside, folders_below)
    return chosen


def weights_of(files: Sequence[str]) -> list[str]:
    """Return the safetensors files; if there is none, the pickled ones."""
    return [file for file in files if file.endswith(SUFFIX)] or [file for file in files if file.endswith(SUFFIXES)]


def _file(wanted: HubFile, path: str, files: Sequence[str]) -> Choice:
    if not path.endswith(SUFFIXES):
        raise UserError(
            f"{str(wanted)!r} names no file of weights: give a folder, or a file that ends in {', '.join(SUFFIXES)}."
        )
    # With the configuration beside it, a file that means nothing alone is recognised as one.
    folder = _folder(_parent(path), files, ())
    beside = folder.files if folder is not None and path in folder.files else ()
    return Choice(path, (*(file for file in beside if not file.endswith(SUFFIXES)), path), is_folder=False)


def _folder(path: str, files: Sequence[str], also: Collection[str]) -> Choice | None:
    """Return the files of a folder that any format reads; None if no format has files of these names."""
    names = [file.rpartition("/")[2] for file in files if _parent(file) == path]
    needed = {name for entry in FORMATS for name in entry.load().files_of(names)}
    if not needed:
        return None
    needed |= {name for name in names if name in also}
    # The weights last: a download that was interrupted is seen without a network.
    ordered = sorted(needed, key=lambda name: (name.endswith(SUFFIXES), name))
    return Choice(path, tuple(f"{path}/{name}" if path else name for name in ordered), is_folder=True)


def _alone(path: str, files: Sequence[str]) -> Choice | None:
    """Return the only safetensors file in a folder, or the one that ``harness push`` writes; None if there is none."""
    safe = [file for file in files if file.endswith(SUFFIX)]
    pushed = f"{path}/{_PUSHED}" if path else _PUSHED
    file = pushed if pushed in safe else safe[0] if len(safe) == 1 else None
    return None if file is None else Choice(file, (file,), is_folder=False)


def _all_in(choice: Choice, files: Sequence[str]) -> bool:
    """Return True if no safetensors file is elsewhere: beside its weights, a program may save further tensors."""
    return all(_parent(file) == choice.path for file in files if file.endswith(SUFFIX))


def _refusal(wanted: HubFile, files: Sequence[str], folders: Sequence[Choice]) -> UserError:
    start = f"{PREFIX}{wanted.repository}" + (f"/{wanted.file}" if wanted.file else "")
    safe, weights = [file for file in files if file.endswith(SUFFIX)], weights_of(files)
    if folders:
        names = names_text([choice.path for choice in folders], _MOST_NAMES)
        return UserError(
            f"{start} has {len(folders)} folders of weights: name one of them, as in "
            f"{PREFIX}{wanted.repository}/FOLDER. They are {names}."
        )
    if safe:
        return UserError(
            f"{start} has {len(safe)} safetensors files: name one of them, as in {PREFIX}{wanted.repository}/FILE. "
            f"They are {names_text(sorted(safe), _MOST_NAMES)}."
        )
    pickled = (
        f"Its pickled files are read only if they are named: {names_text(sorted(weights), _MOST_NAMES)}."
        if weights
        else "Name another repository."
    )
    return UserError(f"{start} has no safetensors file, and no folder of a format of weights. {pickled}")


def _parent(file: str) -> str:
    return file.rpartition("/")[0]
