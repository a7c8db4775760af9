"""Images: damaged, unusual and special files, names, links, permissions, and folders of many files."""

from __future__ import annotations

import functools
import os
import random
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chaos import broken_images
from chaos.case import Bounds, Case, Done
from chaos.small_inputs import RUN, suite_text, use_support, write_pictures

ORDER = 3
N_DAMAGED = 18
_MANY = 100_000

#: Under the name of the first picture of the first class.
_ODD = "blue/odd.png"
_BOUNDS = Bounds(40, 1500)
_CHECK = ("check", "folder:pictures")

NAMES = {
    "line break": "two\nlines",
    "escape sequence": "red\x1b[31m\x1b]0;title\x07",
    "bell and backspace": "a\x07b\x08c",
    "carriage return": "over\rwritten",
    "text from right to left": "abc\u202egnp",
    "invisible": "a\u200b\u2060b\ufeff",
    "emoji": "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "invalid UTF-8": os.fsdecode(b"caf\xe9\xff"),
    "lone surrogate bytes": os.fsdecode(b"\xed\xa0\x80"),
    "formula": "=HYPERLINK(1)",
    "option": "--store",
    "markup": "<script>alert(1)</script>".replace("/", "\u2215"),
    "rich markup": "[bold red]x[not a tag]",
    "LaTeX": "\\input{x} %$&_^~",
    "format": "{0} %s %n {x.__class__}",
    "quotes": "'; DROP TABLE cells; --\"",
    "spaces": "  a  ",
    "decomposed": unicodedata.normalize("NFD", "café"),
    "long": "n" * 240,
}


def cases(seed: int) -> Iterator[Case]:
    """Yield one case per odd file, name, link and folder."""
    use_support()
    for name, content in broken_images.GOOD.items():
        yield _case(f"one image: {name}", functools.partial(_one, content), _all_used)
    for name, content in broken_images.BROKEN.items():
        yield _case(f"one image: {name}", functools.partial(_one, content), _odd_is_named)
    for name, write in broken_images.SPECIAL.items():
        yield _case(f"one image: {name}", functools.partial(_special, write), _without_odd)
    for number in range(N_DAMAGED):
        form = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")[number % 6]
        content = functools.partial(broken_images.damaged(form, number), random.Random(f"{seed} {number}"))
        yield _case(f"one image: damaged {form}", functools.partial(_one, content), _finished)
    for name in ("no bytes", "text", "header only", "900 million pixels declared"):
        content = broken_images.BROKEN[name]
        yield _case(f"all images: {name}", functools.partial(_all, content), _refused, mentions=("pictures",))
    for name, text in NAMES.items():
        yield _case(f"file names: {name}", functools.partial(_file_names, text), _one_skipped)
        yield _case(f"class name: {name}", functools.partial(_class_name, text), _all_used, more=(_CHECK,))
    for layout in _LAYOUTS:
        yield _case(f"folder: {layout.__name__.removeprefix('_')}", layout, _finished, mentions=("pictures",))
    for name, fill in (("empty files", None), ("equal images", "blue/00.png")):
        arrange = functools.partial(_many, fill)
        yield Case(f"{_MANY} {name}", arrange, (_CHECK,), bounds=Bounds(90, 1500), mentions=("pictures",))


def _case(
    name: str,
    arrange: Callable[[Path], None],
    examine: Callable[[Path, Sequence[Done]], Iterator[str]],
    *,
    mentions: tuple[str, ...] = (),
    more: tuple[tuple[str, ...], ...] = (),
) -> Case:
    def write(folder: Path) -> None:
        write_pictures(folder / "pictures")
        (folder / "suite.toml").write_text(suite_text("identity", seeds="[1]"))
        arrange(folder / "pictures")

    return Case(name, write, (RUN, *more), bounds=_BOUNDS, examine=examine, mentions=mentions)


def _one(content: Callable[[], bytes], pictures: Path) -> None:
    (pictures / _ODD).write_bytes(content())


def _special(write: Callable[[Path], None], pictures: Path) -> None:
    write(pictures / _ODD)


def _all(content: Callable[[], bytes], pictures: Path) -> None:
    data = content()
    for file in pictures.rglob("*.png"):
        file.write_bytes(data)


def _file_names(text: str, pictures: Path) -> None:
    """Name a picture and a broken file so."""
    (pictures / "blue" / "00.png").rename(pictures / "blue" / f"{text}.png")
    (pictures / "red" / f"{text}.png").write_bytes(b"no image")


def _class_name(text: str, pictures: Path) -> None:
    (pictures / "blue").rename(pictures / text)


def _many(fill: str | None, folder: Path) -> None:
    write_pictures(folder / "pictures")
    for number in range(_MANY):
        file = folder / "pictures" / "green" / f"many{number:06d}.png"
        if fill is None:
            file.touch()
        elif number % 50_000:  # file systems limit the links to one file
            os.link(file.with_name(f"many{number // 50_000 * 50_000:06d}.png"), file)
        else:
            shutil.copy(folder / "pictures" / fill, file)


def _linked_to_parent(pictures: Path) -> None:
    (pictures / "blue" / "up").symlink_to("..", target_is_directory=True)


def _linked_to_itself(pictures: Path) -> None:
    (pictures / "itself").symlink_to("itself")


def _linked_twice(pictures: Path) -> None:
    (pictures / "again").symlink_to("blue", target_is_directory=True)
    (pictures / "blue" / "other").symlink_to("../green", target_is_directory=True)
    (pictures / "green" / "other").symlink_to("../blue", target_is_directory=True)


def _deep(pictures: Path) -> None:
    deep = pictures / "blue" / "/".join(["d"] * 300)
    deep.mkdir(parents=True)
    (pictures / "blue" / "00.png").rename(deep / "00.png")


def _empty_class(pictures: Path) -> None:
    (pictures / "yellow").mkdir()


def _one_class(pictures: Path) -> None:
    for name in ("green", "red"):
        for file in (pictures / name).iterdir():
            file.unlink()


def _no_images(pictures: Path) -> None:
    for file in pictures.rglob("*.png"):
        file.unlink()


def _a_class_of_one(pictures: Path) -> None:
    for file in sorted((pictures / "red").iterdir())[1:]:
        file.unlink()


def _other_files(pictures: Path) -> None:
    for name in ("Thumbs.db", ".DS_Store", "notes.txt", "blue/a.mp4", "blue/b.heic", "blue/._00.png", "green/c.zip"):
        (pictures / name).write_bytes(b"\0\1\2")


def _file_instead_of_folder(pictures: Path) -> None:
    shutil.rmtree(pictures)
    pictures.write_bytes(b"no folder")


def _pipe_beside_classes(pictures: Path) -> None:
    os.mkfifo(pictures / "val_annotations.txt")
    (pictures / "train").mkdir()
    for name in ("blue", "green", "red"):
        (pictures / name).rename(pictures / "train" / name)
    (pictures / "val" / "images").mkdir(parents=True)
    (pictures / "train" / "blue" / "00.png").rename(pictures / "val" / "images" / "00.png")
    os.mkfifo(pictures / "val" / "val_annotations.txt")


def _not_listable(pictures: Path) -> None:
    (pictures / "red").chmod(0)


def _not_readable(pictures: Path) -> None:
    (pictures / "red" / "00.png").chmod(0)


_LAYOUTS = (
    _linked_to_parent, _linked_to_itself, _linked_twice, _deep, _empty_class, _one_class, _no_images, _a_class_of_one,
    _other_files, _file_instead_of_folder, _pipe_beside_classes, _not_listable, _not_readable,
)  # fmt: skip


def _finished(folder: Path, done: Sequence[Done]) -> Iterator[str]:
    """A run that is accepted finishes its cell."""
    if done[0].code == 0 and "1 cells finished" not in done[0].stdout:
        yield "exit code 0 without a finished cell"
    if done[0].code == 1:
        yield "a failed cell"
    if warnings := [line for line in done[0].stderr.splitlines() if "Warning" in line]:
        yield f"a warning of a library: {warnings[0][:200]}"


def _all_used(folder: Path, done: Sequence[Done]) -> Iterator[str]:
    yield from _finished(folder, done)
    if done[0].code != 0:
        yield "an image that can be read stops the run"
    if "skipped" in (done[0].stdout + done[0].stderr).lower():
        yield "an image that can be read is skipped"


def _one_skipped(folder: Path, done: Sequence[Done]) -> Iterator[str]:
    yield from _finished(folder, done)
    if done[0].code != 0:
        yield "the name of an image stops the run"
    elif "1 images left out" not in done[0].stdout:
        yield "not exactly the broken image is left out"


def _odd_is_named(folder: Path, done: Sequence[Done]) -> Iterator[str]:
    yield from _finished(folder, done)
    if done[0].code != 0:
        yield "one broken image stops the run"
    elif "odd.png" not in done[0].stdout + done[0].stderr:
        yield "the broken image is not named"


def _without_odd(folder: Path, done: Sequence[Done]) -> Iterator[str]:
    """The run finishes without the special file."""
    yield from _finished(folder, done)
    if done[0].code != 0:
        yield "one special file stops the run"


def _refused(folder: Path, done: Sequence[Done]) -> Iterator[str]:
    if done[0].code != 2:
        yield f"exit code {done[0].code} although no image can be read"
