"""Stores: a finished one that was damaged or made by somebody else, opened by the verbs that read."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.case import Bounds, Case
from chaos.small_inputs import finished_run, use_support

if TYPE_CHECKING:
    from hostile_stores import Mutation

ORDER = 5
N_BYTES = 24

STORE = "out.duckdb"
_VERBS = (
    ("leaderboard", "--store", STORE),
    ("verify", "--store", STORE),
    ("export", "board.md", "--store", STORE),
    ("compare", "identity", "topk_sae", "--store", STORE, "--resamples", "100"),
    ("merge", "merged.duckdb", STORE, "good.duckdb", "--prefer", "first"),
)


def cases(seed: int) -> Iterator[Case]:
    """Yield damaged bytes, and the mutations of ``tests/support/hostile_stores.py``."""
    use_support()
    finished_run()
    yield _case("undamaged", lambda folder: None, codes=frozenset({0}))
    for number in range(N_BYTES):
        draw = random.Random(f"{seed} {number}")
        yield _case(f"damaged bytes {number}", functools.partial(_damage, draw))
    import hostile_stores

    # One that must be refused is refused by all verbs in the same way: each meets one of them, in turn.
    for number, mutation in enumerate(hostile_stores.catalogs()):
        verbs = (_VERBS[number % len(_VERBS)],) if mutation.refused else _VERBS
        yield _case(mutation.name, functools.partial(_mutate, mutation), verbs=verbs, must_fail=mutation.refused)
    for mutation in hostile_stores.combined():
        yield _case(mutation.name, functools.partial(_mutate, mutation))


def _case(
    name: str,
    change: Callable[[Path], None],
    *,
    codes: frozenset[int] = frozenset({0, 1, 2}),
    verbs: tuple[tuple[str, ...], ...] = _VERBS,
    must_fail: bool = False,
) -> Case:
    def write(folder: Path) -> None:
        good = finished_run() / "out" / "results.duckdb"
        shutil.copy(good, folder / "good.duckdb")
        shutil.copy(good, folder / STORE)
        change(folder)

    def nothing_leaked(folder: Path, done: object) -> Iterator[str]:
        from hostile_stores import SECRET

        texts = [file.read_text(errors="replace") for file in folder.glob("board.*")]
        if any(SECRET in text for text in [repr(done), *texts]):
            yield "a file of the reader was printed"
        if any("Traceback" in text for text in texts):
            yield "a traceback was written"

    return Case(name, write, verbs, codes=codes, bounds=Bounds(30, 800), examine=nothing_leaked, must_fail=must_fail)


def _damage(draw: random.Random, folder: Path) -> None:
    file = folder / STORE
    data = bytearray(file.read_bytes())
    if draw.random() < 0.3:
        del data[draw.randrange(1, len(data)) :]
    for _ in range(draw.choice([1, 20, 2000])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    file.write_bytes(bytes(data))


def _mutate(mutation: Mutation, folder: Path) -> None:
    import hostile_stores

    hostile_stores.hostile_store(folder / "good.duckdb", folder / STORE, mutation)
