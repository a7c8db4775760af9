"""Checks of a method's calls: what one call leaves behind for the next, and what ``save`` writes."""

from __future__ import annotations

import gc
import os
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.cells.method_output import ROUNDING, dictionary_problem, dictionary_type_problem
from harness.check.finding import NotApplicable, require
from methods.base import Dictionary, Method, Prerequisite, make_config, read_header
from methods.errors import UserError
from methods.fingerprints import fingerprint_problem

if TYPE_CHECKING:
    from harness.check.methods import CheckedMethod

#: Longest time of a fingerprint in seconds, once what it reads is known.
QUICK_S = 1.0
#: Why checks of the atoms do not apply.
NO_DICTIONARY = "dictionary() is None: the decoder is not linear"
#: Number of batches after which a method may hold at most HELD of them.
CALLS, HELD = 12, 3


def same_codes_at_each_call(of: CheckedMethod) -> None:
    """Check that codes depend neither on earlier calls nor on the order of the tokens, and are not overwritten."""
    first = of.method.encode(of.x)
    kept = first.clone()
    reversed_codes = of.method.encode(of.x.flip(0)).flip(0)
    require(
        torch.equal(first, kept),
        "encode overwrites the codes that it returned before: it returns the same memory at each call. Return a new "
        "tensor.",
    )
    largest = float(kept.abs().max()) or 1.0
    for other, reason in (
        (of.method.encode(of.x), "from call to call"),
        (reversed_codes, "with the order of the tokens"),
    ):
        difference = float((kept - other).abs().max()) / largest
        require(
            difference <= ROUNDING,
            f"The codes of a token change {reason}, by {difference:.1e} of the largest code: encode must not change "
            "the fitted method, and its modules must be in evaluation mode (.eval()).",
        )


def usable_dictionary(of: CheckedMethod, dictionary: Dictionary | None) -> Dictionary:
    """Return what one call of dictionary() has returned.

    Raises:
        NotApplicable: if it is None, or no valid dictionary, which another check reports.
    """
    if dictionary is None:
        raise NotApplicable(NO_DICTIONARY)
    if dictionary_type_problem(dictionary) or dictionary_problem(*dictionary, of.method.n_units, of.site):
        raise NotApplicable("dictionary() returns no valid dictionary")
    return dictionary


def same_dictionary_at_each_call(of: CheckedMethod) -> None:
    """Check that dictionary() gives the same atoms and parents each time, also after encode and decode."""
    first = of.method.dictionary()
    if first is None:
        of.method.reconstruct(of.method.encode(of.x), of.x)
        require(of.method.dictionary() is None, "dictionary() gives None at one call and atoms at a later one.")
    dictionary = usable_dictionary(of, first)
    parents, before = dictionary.parents, dictionary.atoms.clone()
    of.method.reconstruct(of.method.encode(of.x), of.x)
    again = of.method.dictionary()
    require(again is not None, "dictionary() gives atoms at one call and None at a later one.")
    require(isinstance(again, Dictionary), "dictionary() gives something else than a Dictionary at a later call.")
    assert again is not None
    same = torch.equal(before, again.atoms) and (parents is None) == (again.parents is None)
    same = same and (parents is None or again.parents is None or torch.equal(parents, again.parents))
    require(same, "dictionary() gives other atoms or parents at a later call; it must only read what fit has set.")


def bounded_memory(of: CheckedMethod) -> None:
    """Check that encode and decode keep no references to the tensors of all earlier calls."""
    references: list[weakref.ref[torch.Tensor]] = []
    before = _held(of.method)
    for start in range(CALLS):
        x = of.x[start::CALLS].clone()
        codes = of.method.encode(x)
        references += [weakref.ref(x), weakref.ref(codes)]
        of.method.reconstruct(codes, x)
    del x, codes
    gc.collect()
    alive = sum(reference() is not None for reference in references)
    grown = _held(of.method) - before
    require(
        alive <= 2 * HELD and grown <= HELD,
        "encode or decode keeps the tensors of every call, so memory grows with the number of images; keep no "
        "reference to inputs and codes.",
    )


def _held(method: object) -> int:
    """Return the number of tensors in the attributes of a method, those in lists and dictionaries included."""
    n_tensors, waiting, visited = 0, [vars(method)], set()
    while waiting:
        value = waiting.pop()
        if id(value) in visited:
            continue
        visited.add(id(value))
        if isinstance(value, torch.Tensor):
            n_tensors += 1
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
    return n_tensors


def safe_file(of: CheckedMethod) -> None:
    """Check that save writes one safetensors file, the given one, and nothing elsewhere."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        try:
            (Path(folder) / "inside").mkdir()
            (Path(folder) / "elsewhere").mkdir()
            os.chdir(Path(folder) / "elsewhere")
            file = Path(folder) / "inside" / "method.safetensors"
            of.method.save(file)
            names = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())
            require(
                names == ["inside/method.safetensors"],
                f"save writes the files {names}; it must write only the given path.",
            )
            try:
                read_header(file)
            except UserError as error:
                raise AssertionError(
                    "save writes a file that is not safetensors with the method's header; a pickle can run code when "
                    "it is read. Do not override save: name tensors in `fitted`, and return other state in "
                    "extra_state()."
                ) from error
        finally:
            os.chdir(before)


def prerequisite(of: CheckedMethod) -> str:
    """Check that the method names at most one other method whose fit it needs, and that this one needs none of it."""
    cls, config = of.cls, make_config(of.cls, dict(of.config))
    names: list[str] = []
    while (needed := cls.prerequisite(config)) is not None:
        require(
            isinstance(needed, Prerequisite) and isinstance(needed.method, type) and issubclass(needed.method, Method),
            f"prerequisite() returns a {type(needed).__name__}; it must return Prerequisite(method class, config) or "
            "None.",
        )
        cls, config = needed
        require(
            cls is not of.cls and cls.spec.name not in names,
            "prerequisite() leads back to a method that needs this fit itself; it must return another method, or None.",
        )
        names.append(cls.spec.name)
    return f"needs the fit of {', '.join(names)}" if names else ""


def fingerprint(of: CheckedMethod) -> str:
    """Check that the fingerprint of an unfitted method is text or None, the same each time, and quick."""
    values: list[str | None] = []
    seconds = []
    for _ in range(2):
        method = of.cls(make_config(of.cls, dict(of.config)))
        for _ in range(2):
            started = time.perf_counter()
            values.append(method.fingerprint())
            seconds.append(time.perf_counter() - started)
        require(not method.is_fitted, "fingerprint() fits the method; it must only read what tells the content.")
    for value in values:
        problem = fingerprint_problem(value)
        require(not problem, f"fingerprint() returns {problem}")
    require(
        all(value == values[0] for value in values),
        "fingerprint() gives another value at each call, so finished cells would never be found again; return a hash "
        "of what fit reads.",
    )
    # The first call may read files or download them; a plan calls it for every cell.
    require(
        min(seconds) <= QUICK_S,
        f"fingerprint() takes {min(seconds):.1f} s at each call, and a run calls it several times per cell; keep what "
        "it has computed for unchanged files, and finish within a second.",
    )
    return "" if values[0] is None else str(values[0])[:40]
