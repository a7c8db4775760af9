"""Layouts of image folders: classes alone, splits of classes (ImageNet), and splits with annotations (Tiny-ImageNet).

A folder is a split only if its name is that of a split and class folders (or annotated images) are inside it: ``train``
may also be a class of vehicles. Layouts that can be read in two ways are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.datasets.folders.tree import Folder
from harness.datasets.split_names import (
    AmbiguousSplitsError,
    Role,
    choose_splits,
    is_extra,
    is_filler,
    join,
    mentions_role,
    roles_of,
    words_of,
)
from methods.errors import UserError

LAYOUT = "PATH/CLASS/IMAGE.jpg, or PATH/train/CLASS/IMAGE.jpg with PATH/val/CLASS/IMAGE.jpg"


class Part(NamedTuple):
    """Folder whose sub-folders are the classes, or whose images are labelled in the file ``annotations``."""

    folder: Folder
    annotations: Path | None = None


class Layout(NamedTuple):
    """Parts to read. ``probing`` is the prefix of the training images of a predefined split, None without a split."""

    parts: tuple[Part, ...]
    probing: str | None = None
    notes: tuple[str, ...] = ()
    """sentences about folders that are left out"""


def recognise(root: Folder, name: str) -> Layout:
    """Return the layout of the folder ``root``, which messages call ``name``.

    Raises:
        UserError: if the layout is ambiguous or holds no images in class folders.
    """
    roles = roles_of(child.name for child in root.children)
    splits = {child: roles[child.name] for child in root.children if child.name in roles}
    others = [child for child in root.class_folders if child.name not in roles]
    parts = {folder: part for folder in splits if (part := _part_of(folder, name)) is not None}
    if parts:
        return _splits(parts, splits, others, name)
    flat = [folder for folder in splits if folder.holds_images]
    if len(flat) > 1 or (flat and not others):
        raise UserError(
            f"{join([folder.title for folder in flat])} in {name} hold{'s' * (len(flat) == 1)} images, but no class "
            f"folders, so these have no labels. Lay the folder out as {LAYOUT}; rename a folder if its name is a class."
        )
    _refuse_flat_beside_nested(root, flat, name)
    return _classes(root, name)


def _refuse_flat_beside_nested(root: Folder, flat: Sequence[Folder], name: str) -> None:
    """Raise UserError if unlabelled images of a split lie beside folders of folders (``val_256`` and ``data_256``)."""
    unlabelled = [
        child
        for child in root.class_folders
        if child in flat or (mentions_role(child.name) and not _innermost(child).class_folders)
    ]
    others = [_innermost(child) for child in root.class_folders if child not in unlabelled]
    if unlabelled and others and all(len(each.class_folders) > 1 and not each.holds_files for each in others):
        raise UserError(
            f"{join([folder.title for folder in unlabelled])} in {name} hold{'s' * (len(unlabelled) == 1)} images, but "
            f"no class folders, and {join([each.title for each in others])} hold{'s' * (len(others) == 1)} folders of "
            f"images: the names do not say which are the classes. If they are the folders inside {others[0].title}, "
            f"give folder:PATH/{others[0].prefix}; if all of these are classes, rename those with the name of a split."
        )


def _innermost(folder: Folder) -> Folder:
    """Return the first folder on the way down that holds images itself, or several folders with images."""
    while not folder.holds_files and len(folder.class_folders) == 1:
        folder = folder.class_folders[0]
    return folder


def _part_of(folder: Folder, name: str) -> Part | None:
    """Return a split's folder as a part, or None if it holds neither class folders nor annotated images."""
    inner = folder.class_folders
    wrapper = _wrapper_in(folder)
    if folder.annotation_files and (folder.holds_files or any(c.holds_files and is_filler(c.name) for c in inner)):
        if len(folder.annotation_files) > 1 or (inner and wrapper is None):
            files = [file.name for file in folder.annotation_files]
            raise UserError(
                f"{folder.title} in {name} holds images that {join(files)} may label, and also "
                f"{join([child.title for child in inner])}: remove one of them."
            )
        return Part(folder, folder.annotation_files[0])
    if wrapper is not None:
        return _part_of(wrapper, name)
    return Part(folder) if inner else None


def _wrapper_in(folder: Folder) -> Folder | None:
    """Return the folder around all images of another one, if there is one: ``images`` alone, or beside ``masks``."""
    inner = [child for child in folder.class_folders if not is_extra(child.name)]
    return inner[0] if len(inner) == 1 and _is_wrapper(inner[0], folder) else None


def _is_wrapper(folder: Folder, parent: Folder) -> bool:
    """Return True if a folder's name does not describe its images (``images``, or its parent's name again)."""
    return is_filler(folder.name) or words_of(folder.name) == words_of(parent.name)


def _splits(parts: dict[Folder, Part], splits: dict[Folder, Role], others: Sequence[Folder], name: str) -> Layout:
    """Return the layout of a folder with at least one split that has classes."""
    folder_of = {folder.name: folder for folder in splits}
    empty = [folder for folder in splits if not folder.holds_images]
    try:
        choice = choose_splits({folder.name: role for folder, role in splits.items() if folder not in empty})
    except AmbiguousSplitsError as error:
        raise UserError(
            f"The splits of {name} are ambiguous: {error}. Keep one training split and one validation or test split, "
            f"or give one folder alone: folder:PATH/{next(iter(parts)).prefix}."
        ) from None
    chosen = [folder_of[split] for split in (choice.probing, choice.evaluation) if split is not None]
    for folder in chosen if len(chosen) == 2 else [*chosen, *empty]:
        if folder not in parts:
            raise _without_classes(folder, next(iter(parts)), name)
        classes = [] if parts[folder].annotations else parts[folder].folder.class_folders
        if not any(child.holds_files for child in classes):  # otherwise ImageNet would be listed as a whole
            _refuse_inner_splits(classes, name)
    _refuse_mixed(parts[chosen[0]], others, len(chosen) == 2, name)
    used = join([folder.title for folder in chosen])
    left_out = [folder.title for folder in (*(folder_of[split] for split in choice.left_out), *empty, *others)]
    for folder in chosen:
        if _wrapper_in(folder) is not None and parts[folder].annotations is None:
            left_out += [child.title for child in folder.class_folders if child is not _wrapper_in(folder)]
    notes = []
    if left_out:
        notes.append(f"Left out: {join(left_out)}. Used: {used}.")
    if len(chosen) == 1:
        notes.append(f"{used} is the only split with class folders: a part of it is held out for evaluation.")
    probing = parts[chosen[0]].folder.prefix if len(chosen) == 2 else None
    return Layout(tuple(parts[folder] for folder in chosen), probing, tuple(notes))


def _without_classes(folder: Folder, classed: Folder, name: str) -> UserError:
    if not folder.holds_images:
        return UserError(
            f"There are no images in the class sub-folders of {name}, {folder.title} Fill or remove this folder, or "
            f"give one split alone: folder:PATH/{classed.prefix}."
        )
    return UserError(
        f"{folder.title} in {name} holds images, but no class folders, so they have no labels. Sort them into "
        f"{folder.title}CLASS/, or give folder:PATH/{classed.prefix} alone; a part of it is then held out for "
        "evaluation."
    )


def _refuse_mixed(probing: Part, others: Sequence[Folder], is_split: bool, name: str) -> None:
    """Raise UserError if folders beside the splits may be classes."""
    classes = {child.name for child in probing.folder.class_folders}
    mixed = [folder for folder in others if not is_extra(folder.name) and not (is_split and _like(folder, classes))]
    if mixed:
        titles = join([folder.title for folder in mixed])
        raise UserError(
            f"{name} holds {probing.folder.title} with class folders inside it, and beside it {titles}: the names do "
            f"not say which are splits and which are classes. Give the splits alone, move {titles} elsewhere, or "
            f"rename {probing.folder.title} if it is a class."
        )


def _like(folder: Folder, classes: set[str]) -> bool:
    """Return True if a folder is like another split: by its name, or because the same classes are inside it."""
    if folder.name in classes:
        return False
    inner = {child.name for child in folder.class_folders}
    return mentions_role(folder.name) or len(inner & classes) * 2 > len(inner)


def _classes(root: Folder, name: str) -> Layout:
    """Return the layout of a folder whose sub-folders are the classes."""
    folders = root.class_folders
    wrapper = _wrapper_in(root)
    if wrapper is not None and len(folders) > 1:
        left_out = join([folder.title for folder in folders if folder is not wrapper])
        if not wrapper.class_folders:
            raise UserError(
                f"{wrapper.title} and {left_out} in {name} hold images, but no class folders, so these have no labels. "
                f"Lay the folder out as {LAYOUT}; rename a folder if its name is a class."
            )
        layout = recognise(wrapper, name)
        return layout._replace(notes=(f"Left out: {left_out}. Used: {wrapper.title}.", *layout.notes))
    only = _innermost(root)
    if only is not root and not only.holds_files and len(only.class_folders) > 1:
        inner_roles = roles_of(child.name for child in only.class_folders)
        if wrapper is only or len(set(inner_roles.values())) > 1:
            return recognise(only, name)
        raise UserError(
            f"{name} has one sub-folder with images, {only.title}, which holds sub-folders itself "
            f"({join([child.name for child in only.class_folders])}). If these are the classes, give "
            f"folder:PATH/{only.prefix}; if {folders[0].name} is the only class, put its images directly into it."
        )
    _refuse_inner_splits(folders, name)
    return Layout((Part(root),))


def _refuse_inner_splits(folders: Sequence[Folder], name: str) -> None:
    """Raise UserError if splits lie inside the classes, or the folders are splits or domains of the same classes."""
    for folder in folders:
        roles = roles_of(child.name for child in folder.class_folders)
        if len(set(roles.values())) > 1:
            raise UserError(
                f"The splits of {name} lie inside its classes ({join([f'{folder.prefix}/{split}/' for split in roles])}"
                f"). Put them above the classes: {LAYOUT}."
            )
    _refuse_copies(folders, name)
    if len(folders) < 2 or any(folder.holds_files for folder in folders):
        return
    inner = [_innermost(folder) for folder in folders]
    shared = sorted(set.intersection(*({child.name for child in folder.class_folders} for folder in inner)))
    if len(shared) >= max(2, len(folders)):
        raise UserError(
            f"The folders {join([folder.title for folder in inner])} of {name} hold the same sub-folders "
            f"({join(shared)}), so it is ambiguous which are the classes. If the sub-folders are, give one folder "
            f"alone (folder:PATH/{inner[0].prefix}) or name the splits train and val; otherwise put the images "
            "directly into the class folders."
        )
    if all(_is_index(folder) for folder in folders):
        raise UserError(
            f"The folders {join([folder.title for folder in folders])} of {name} sort the classes by their first "
            f"letter ({folders[0].title}{folders[0].class_folders[0].name}), so these folders are no classes. Move the "
            f"folders inside them up: {LAYOUT}."
        )


def _refuse_copies(folders: Sequence[Folder], name: str) -> None:
    """Raise UserError if the classes are inside one of the folders once more."""
    names = {folder.name for folder in folders}
    for folder in folders:
        inner = [] if folder.holds_files else [child.name for child in _innermost(folder).class_folders]
        if len(inner) > 1 and names - {folder.name} >= set(inner):
            raise UserError(
                f"{folder.title} in {name} holds folders with the names of those beside it ({join(inner)}), so it is "
                f"ambiguous which are the classes. Give folder:PATH/{_innermost(folder).prefix} alone, or move "
                f"{folder.title} elsewhere."
            )


def _is_index(folder: Folder) -> bool:
    """Return True if a folder is named by the first letter of all folders inside it, as in SUN397 and Places365."""
    inner = folder.class_folders
    letter = folder.name.casefold()
    return len(letter) == 1 and letter.isalpha() and all(child.name.casefold().startswith(letter) for child in inner)
