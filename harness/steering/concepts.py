"""Lists of concepts: shipped ones by name, and text files of the user with one concept per line."""

from __future__ import annotations

import functools
from pathlib import Path

from harness.datasets import files
from harness.datasets.label_sets import IMAGENET_1K
from harness.errors import UserError, first_line
from results.nearest_names import alternatives
from results.visible_text import one_line, visible

#: Names of the shipped lists: about 1000 concepts of photographs, and the class names of ImageNet-1k.
COMMON, IMAGENET = "common", "imagenet"
CONCEPT_LISTS = (COMMON, IMAGENET)

#: Largest concept in characters, and largest file in lines and bytes.
MOST_CHARACTERS, MOST_LINES, MOST_BYTES = 200, 100_000, 32 << 20

_FOLDER = Path(__file__).parent / "concept_lists"
#: Joiners, which are invisible and part of words of some scripts and of emoji.
_JOINERS = {0x200C: None, 0x200D: None}

_HOW = f"Give one of the lists {', '.join(CONCEPT_LISTS)}, or a text file in UTF-8 with one concept per line."


def read_concepts(name_or_path: str | Path) -> tuple[str, ...]:
    """Return the concepts of a shipped list or of a text file, in the order of the list.

    A file has one concept per line, in UTF-8. White space around a concept, blank lines and lines that start with ``#``
    are ignored.

    Args:
        name_or_path: ``"common"`` (harness/steering/concept_lists/common.txt), ``"imagenet"`` (the words of each class
            of ImageNet-1k as timm states them, ``tench, Tinca tinca``; of two classes ``crane`` one), or the path of a
            file. A :class:`~pathlib.Path` is never the name of a list.

    Raises:
        UserError: if there is no such list or file, or the file is a folder, no UTF-8 text or too large; or, naming the
            line, if a concept has control characters, is longer than 200 characters or a repetition.
    """
    if name_or_path == COMMON:
        return _concepts_of_file(_FOLDER / "common.txt")
    if name_or_path == IMAGENET:
        return _imagenet()
    return _concepts_of_file(_existing(name_or_path))


@functools.cache
def _imagenet() -> tuple[str, ...]:
    # timm imports torch.
    from timm.data import ImageNetInfo

    info = ImageNetInfo(IMAGENET_1K)
    return tuple(dict.fromkeys(info.label_name_to_description(wordnet_id) for wordnet_id in info.label_names()))


def _existing(name_or_path: str | Path) -> Path:
    """Return the path of a file that exists."""
    path = Path(name_or_path)
    try:
        path = path.expanduser()
        if path.is_dir():
            raise UserError(f"The list of concepts {str(path)!r} is a folder. {_HOW}")
        if path.exists():
            return path
    # A name that is too long, one with a null character, the home folder of nobody.
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"The list of concepts {one_line(path)!r} cannot be read ({first_line(error)}). {_HOW}"
        ) from error
    is_bare = isinstance(name_or_path, str) and path.name == name_or_path and not path.suffix
    remedy = (
        f"{alternatives(path.name, CONCEPT_LISTS)} Or give a text file with one concept per line." if is_bare else _HOW
    )
    raise UserError(f"There is no list of concepts {one_line(path)!r}. {remedy}")


def _concepts_of_file(path: Path) -> tuple[str, ...]:
    name = one_line(path.name)
    lines = _lines(path, name)
    if len(lines) > MOST_LINES:
        raise UserError(
            f"The list of concepts {name!r} has {len(lines)} lines, and at most {MOST_LINES} are read: divide it."
        )
    first: dict[str, int] = {}
    concepts = []
    for number, line in enumerate(lines, start=1):
        concept = line.strip()
        if not concept or concept.startswith("#"):
            continue
        _require_concept(concept, number, name)
        if (earlier := first.setdefault(concept.casefold(), number)) != number:
            raise UserError(
                f"Line {number} of the list of concepts {name!r} repeats {one_line(concept)!r} of line {earlier}: "
                "remove one of them."
            )
        concepts.append(concept)
    if not concepts:
        raise UserError(f"The list of concepts {name!r} has no concept: write one per line.")
    return tuple(concepts)


def _lines(path: Path, name: str) -> list[str]:
    """Return the lines of a text file; ``str.splitlines`` would take control characters for ends of lines."""
    try:
        content = files.read(path, MOST_BYTES)
    except OSError as error:
        raise UserError(f"The list of concepts {name!r} cannot be read ({error.strerror or error}). {_HOW}") from error
    if b"\0" in content:
        number = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UserError(f"The list of concepts {name!r} is no text in UTF-8 (line {number} has a null byte). {_HOW}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The position counts from the end of a byte order mark, before which there is no line.
        number = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"The list of concepts {name!r} is no text in UTF-8 (line {number}: {error.reason}). {_HOW}"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def _require_concept(concept: str, number: int, name: str) -> None:
    if len(concept) > MOST_CHARACTERS:
        raise UserError(
            f"Line {number} of the list of concepts {name!r} has {len(concept)} characters, and a concept has at most "
            f"{MOST_CHARACTERS}: write one concept per line."
        )
    plain = concept.translate(_JOINERS)
    if visible(plain, keep="") != plain:
        raise UserError(
            f"Line {number} of the list of concepts {name!r} has control characters ({visible(concept, keep='')}): "
            "remove them."
        )
