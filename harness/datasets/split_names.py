"""Names of splits: which folder or split of a data set holds the training, validation and test images."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple


class Role(Enum):
    """Role of a split; the value is its word in messages."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


#: Words that name a role, in lower case.
WORDS = {
    Role.TRAINING: ("train", "training", "trn", "trainset"),
    Role.VALIDATION: (
        "val", "valid", "validation", "valset", "validset", "dev", "devset", "development", "eval", "evaluation",
        "holdout",
    ),
    Role.TEST: ("test", "testing", "tst", "testset"),
}  # fmt: skip
_ROLE_OF = {word: role for role, words in WORDS.items() for word in words}

#: Words that may stand beside a role's word, or name a folder that only wraps the class folders.
FILLERS = frozenset(
    ("data", "dataset", "folder", "image", "images", "img", "imgs", "jpg", "jpeg", "photo", "photos", "picture",
     "pictures", "png", "set", "split", "raw")
)  # fmt: skip

#: Words of folders beside the splits that are neither splits nor classes.
EXTRAS = frozenset(
    ("annotation", "annotations", "distractors", "extra", "extras", "label", "labels", "mask", "masks", "pred",
     "predict", "prediction", "predictions", "sample", "samples", "segmentation", "segmentations", "unlabeled",
     "unlabelled", "unsupervised")
)  # fmt: skip


class SplitChoice(NamedTuple):
    """Splits to use: without ``evaluation``, ``probing`` is the only one, and a part of it is held out."""

    probing: str
    evaluation: str | None
    left_out: tuple[str, ...]


class AmbiguousSplitsError(Exception):
    """Error of :func:`choose_splits`: the names do not say which splits to use. The message has no remedy."""


def words_of(name: str) -> list[str]:
    """Return the words and numbers of a name in lower case: ``TrainSet_2017`` has train, set and 2017."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return re.findall(r"[^\W\d_]+|\d+", spaced.casefold())


def is_filler(name: str) -> bool:
    """Return True if a name says only that there are images (``images``, ``img_data``)."""
    words = words_of(name)
    return bool(words) and all(word in FILLERS for word in words)


def is_extra(name: str) -> bool:
    """Return True if a name is that of annotations or unlabelled images beside the splits."""
    return any(word in EXTRAS for word in words_of(name))


def mentions_role(name: str) -> bool:
    """Return True if a word of a name is that of a role (``train_small``)."""
    return any(word in _ROLE_OF for word in words_of(name))


def roles_of(names: Iterable[str]) -> dict[str, Role]:
    """Return the roles of those of the ``names`` that name splits, in any case and spelling.

    A name is that of a split if it has one word of :data:`WORDS` and otherwise only numbers and :data:`FILLERS`
    (``Train``, ``training_set``, ``val2017``). If there is no such name, names that differ only in the role's word are
    splits (``seg_train`` with ``seg_test``).
    """
    plain: dict[str, Role] = {}
    decorated: dict[tuple[str, ...], dict[str, Role]] = {}
    for name in names:
        words = words_of(name)
        roles = [_ROLE_OF[word] for word in words if word in _ROLE_OF]
        if len(roles) != 1:
            continue
        rest = tuple("" if word in _ROLE_OF else word for word in words)
        if all(word in FILLERS or word.isdigit() or not word for word in rest):
            plain[name] = roles[0]
        else:
            decorated.setdefault(rest, {})[name] = roles[0]
    if plain:
        return plain
    return {name: role for group in decorated.values() if len(set(group.values())) > 1 for name, role in group.items()}


def choose_splits(roles: Mapping[str, Role]) -> SplitChoice:
    """Choose the training split for probing, and the validation split, else the test split, for evaluation.

    Raises:
        AmbiguousSplitsError: if two splits have one role, or there are several and none is for training.
    """
    for role, count in Counter(roles.values()).items():
        if count > 1:
            raise AmbiguousSplitsError(
                f"{join([name for name in roles if roles[name] is role])} are all names of the {role.value} split"
            )
    name_of = {role: name for name, role in roles.items()}
    if len(roles) == 1:
        return SplitChoice(next(iter(roles)), None, ())
    if Role.TRAINING not in name_of:
        raise AmbiguousSplitsError(f"there are {join(list(roles))}, but no training split")
    evaluation = name_of.get(Role.VALIDATION) or name_of[Role.TEST]
    probing = name_of[Role.TRAINING]
    return SplitChoice(probing, evaluation, tuple(name for name in roles if name not in (probing, evaluation)))


def join(names: Iterable[str], most: int = 5) -> str:
    """Return names as ``a, b and c``; of many, the first ``most`` and the number of the others."""
    names = list(names)
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
