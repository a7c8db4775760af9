"""References from the settings of a method to another entry of the suite."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UserError
from harness.suites import Suite, load_suite, parse_suite, with_overrides, with_settings
from harness.suites.names import check, check_sources
from harness.suites.tiny import scaled

CONTROL: dict[str, Any] = {
    "name": "random_split",
    "label": "control",
    "config": {"counts_of": {"entry": "elude"}},
}
ELUDE = {"name": "elude", "config": {"top_k": 2000, "min_cluster_size": 50}}


def suite_of(*entries: dict[str, Any], **target: Any) -> Suite:
    return parse_suite({"name": "x", "targets": [{"backbone": "tiny_vit", **target}], "methods": entries})


def counted(suite: Suite) -> list[dict[str, Any]]:
    """Return what each control refers to, target by target."""
    entries = [entry for target in suite.targets for entry in suite.methods_of(target)]
    return [entry.config["counts_of"] for entry in entries if "counts_of" in entry.config]


def test_a_reference_has_the_settings_of_its_entry() -> None:
    suite = suite_of(CONTROL, ELUDE)
    assert counted(suite) == [{"name": "elude", "config": ELUDE["config"]}]
    assert check(suite) == check_sources(suite) == []
    labelled = suite_of({**ELUDE, "label": "ours"}, {**CONTROL, "config": {"counts_of": {"entry": "ours"}}})
    assert counted(labelled) == counted(suite)


def test_what_changes_the_entry_changes_what_refers_to_it() -> None:
    """A control that kept the old counts would be called ELUDe's and would not be."""
    suite = with_settings(suite_of(ELUDE, CONTROL), ["method.elude.top_k=1000"])
    assert counted(suite)[0]["config"] == {"top_k": 1000, "min_cluster_size": 50}
    suite = suite_of(ELUDE, CONTROL, settings={"elude": {"top_k": 700}})
    assert counted(suite)[0]["config"]["top_k"] == 700
    suite = with_settings(with_overrides(suite, methods=("elude", "control")), ["method.elude.top_k=600"])
    assert counted(suite)[0]["config"]["top_k"] == 600
    small = with_settings(scaled(suite, "tiny").suite, ["method.elude.top_k=90"])
    assert counted(small)[0]["config"]["top_k"] == 90
    demo = with_settings(load_suite("demo"), ["method.elude.min_cluster_size=30"])
    assert [each["config"]["min_cluster_size"] for each in counted(demo)] == [30, 30]


def test_a_control_that_is_run_alone_keeps_the_settings_of_the_suite() -> None:
    suite = suite_of(ELUDE, CONTROL, settings={"elude": {"top_k": 700}})
    alone = with_overrides(suite, methods=("control",))
    assert [entry.label for entry in alone.methods_of(alone.targets[0])] == ["control"]
    assert counted(alone) == counted(suite) == [{"name": "elude", "config": {"top_k": 700, "min_cluster_size": 50}}]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{**CONTROL, "config": {"counts_of": {"entry": "eluda"}}}, ELUDE], "called 'eluda'. Did you mean elude"),
        ([CONTROL, ELUDE, {**ELUDE, "label": "other"}], r"2 entries are called 'elude' \('elude', 'other'\)"),
        ([CONTROL, {**CONTROL, "name": "elude", "label": "elude"}], "the entry 'elude' are not fixed"),
        ([CONTROL, {**ELUDE, "select": True}], "the entry 'elude' are not fixed"),
    ],
)
def test_a_reference_to_no_fixed_settings_is_refused(entries: list[dict[str, Any]], message: str) -> None:
    suite = suite_of(*entries)
    with pytest.raises(UserError, match=message):
        suite.methods_of(suite.targets[0])
    for problems in (check(suite), check_sources(suite)):
        assert ("methods", 0, "config") in [problem.path for problem in problems]


def test_settings_of_the_method_that_is_written_out_shrink_with_the_scale() -> None:
    written = {"name": "elude", "config": {"top_k": 2000, "min_cluster_size": 50}}
    suite = suite_of(ELUDE, {**CONTROL, "config": {"counts_of": written}})
    small = scaled(suite, "tiny").suite
    elude, control = small.methods_of(small.targets[0])
    assert control.config["counts_of"] == {"name": "elude", "config": elude.config} and elude.config != ELUDE["config"]
