"""A fit that no memory could hold is refused before anything is allocated; sizes are printed in a fitting unit."""

from __future__ import annotations

import math

import pytest

import methods
from harness.check.world import small_layer
from methods.errors import ArgumentError, UserError
from methods.memory import least_memory_of, memory_of
from results.byte_sizes import size_text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 bytes"), (1, "1 byte"), (624, "624 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"),
        (1048570, "1.0 MiB"), (12.5 * 2**20, "12.5 MiB"), (3 * 2**30, "3.0 GiB"), (2.25 * 2**40, "2.2 TiB"),
        (2**63, "8.0 EiB"), (10**30, "8.67e+11 EiB"),
    ],
)  # fmt: skip
def test_a_size_has_the_unit_that_fits(n_bytes: float, text: str) -> None:
    assert size_text(n_bytes) == text


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("topk_sae", {"expansion_factor": 100_000}),
        ("matching_pursuit_sae", {"expansion_factor": 100_000}),
        ("random_dictionary", {"expansion_factor": 100_000}),
        ("random_split", {"parts": 100_000}),
    ],
)
def test_a_fit_beyond_the_memory_is_refused(
    name: str, config: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("methods.memory.memory_of", lambda device: 100 * 2**20)
    site, tokens = small_layer()
    method = methods.create(name, **config)
    needed = method.least_memory(method.config, site.d_in, site.d_out)
    if needed < 2**28:
        monkeypatch.setattr(type(method), "least_memory", classmethod(lambda *_: 2**40))
    with pytest.raises(UserError, match=rf"{name} needs at least .*iB of memory .* has 100\.0 MiB"):
        method.fit(tokens, site, seed=1)


def test_the_memory_of_this_machine_is_known() -> None:
    memory = memory_of("cpu")
    assert memory is None or memory > 2**28


@pytest.mark.parametrize("returned", ["1 GB", math.nan, None, True])
def test_a_need_that_is_no_number_of_bytes_is_refused(returned: object, monkeypatch: pytest.MonkeyPatch) -> None:
    method = type(methods.create("random_dictionary"))
    monkeypatch.setattr(method, "least_memory", classmethod(lambda *_: returned))
    with pytest.raises(
        ArgumentError, match=r"random_dictionary.least_memory\(\) returns a \w+; it must return a whole"
    ):
        least_memory_of(method, method.Config(), 3, 4)
