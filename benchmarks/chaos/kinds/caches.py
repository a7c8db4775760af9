"""Caches: a damaged token set, baseline or fit; the run must make it again and find the same numbers."""

from __future__ import annotations

import functools
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from chaos import processes
from chaos.case import Bounds, Case, Done
from chaos.kinds.kills import differences
from chaos.small_inputs import RUN, copy_finished_run, finished_run, shared_folder, use_support

ORDER = 7
N_DRAWN = 50
#: Another number of top images: every cell is measured again from its cached tokens, baseline and fit.
_AGAIN = (*RUN, "--set", "evaluation.top_images=5")
_BOUNDS = Bounds(60, 1000)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _garbage(file: Path) -> None:
    file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))


def _longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + bytes(400))


def _removed(file: Path) -> None:
    file.unlink()


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _text(content: str, file: Path) -> None:
    file.write_text(content)


def _npy_of_a_billion_rows(file: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000), }"
    padded = header.ljust(117) + "\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode())


def _npy_of_objects(file: Path) -> None:
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _zip_bomb(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("image.npy", "w") as inner:
        for _ in range(2000):
            inner.write(bytes(1 << 20))


def _safetensors_of_a_long_header(file: Path) -> None:
    file.write_bytes((2**62).to_bytes(8, "little") + b"{}")


_ANY: tuple[Callable[[Path], None], ...] = (_cut, _empty, _garbage, _longer, _removed, _folder, _loop, _pipe)
_BY_SUFFIX: dict[str, tuple[Callable[[Path], None], ...]] = {
    ".json": tuple(
        functools.partial(_text, content)
        for content in (
            "[]",
            "7",
            "null",
            "{}",
            "[" * 100_000,
            '{"shards": [1000000000000], "widths": {"input": 1}}',
            '{"shards": [-1], "widths": {}}',
            '{"shards": "x", "widths": 3, "n_tokens": -7}',
            "NaN",
        )
    ),
    ".npy": (_npy_of_a_billion_rows, _npy_of_objects),
    ".npz": (_zip_bomb,),
    ".safetensors": (_safetensors_of_a_long_header,),
}


def cases(seed: int) -> Iterator[Case]:
    """Yield pairs of a file of the cache and a damage, drawn without replacement."""
    use_support()
    whole = _undamaged()
    run = finished_run() / "out"
    files = sorted(file.relative_to(run) for part in ("cache", "artifacts") for file in (run / part).rglob("*.*"))
    pairs = [(file, damage) for file in files if (run / file).is_file() for damage in _damages(file)]
    for file, damage in random.Random(seed).sample(pairs, N_DRAWN):
        part = file.parts[1] if file.parts[0] == "cache" else file.parts[0]
        named = damage.func if isinstance(damage, functools.partial) else damage
        name = named.__name__.removeprefix("_").replace("_", " ")
        yield Case(
            f"{part}, {file.name if len(file.name) < 20 else file.suffix}: {name}",
            functools.partial(_arrange, file, damage),
            (_AGAIN,),
            codes=frozenset({0}),
            bounds=_BOUNDS,
            examine=functools.partial(_compare, whole),
        )


def _damages(file: Path) -> Iterator[Callable[[Path], None]]:
    """Yield the damages of a file that the program can see: raw numbers have no header and no checksum."""
    yield from (damage for damage in _ANY if damage is not _garbage or file.suffix != ".f32")
    yield from _BY_SUFFIX.get(file.suffix, ())


@functools.cache
def _undamaged() -> Path:
    """Return the store of the second run with its caches intact."""
    folder = shared_folder("undamaged")
    copy_finished_run(folder)
    done = processes.harness(_AGAIN, folder, _BOUNDS)
    assert done.code == 0, done
    return folder / RUN[-1]


def _arrange(file: Path, damage: Callable[[Path], None], folder: Path) -> None:
    copy_finished_run(folder)
    damage(folder / "out" / file)


def _compare(whole: Path, folder: Path, done: Sequence[Done]) -> Iterator[str]:
    if done[0].code == 0:
        yield from (f"{table}: {difference}" for table, difference in differences(folder / RUN[-1], whole))
    shutil.rmtree(folder / "pictures")
