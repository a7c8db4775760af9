"""The versions of scores that a submission may have are those of the program's metrics."""

from __future__ import annotations

from harness.metrics import METRICS
from harness.run.stability import VERSIONS
from harness.steering import label_scores, steering_score
from results.store.labels import ADDED_METRICS, LABEL_METRICS
from results.submissions.metric_versions import NEWEST_OF_GROUPS, newest_version


def test_every_metric_is_listed_with_its_version() -> None:
    for name in METRICS.names():
        assert newest_version(name) == METRICS.get(name).version, name


def test_every_score_of_groups_is_listed_with_its_version() -> None:
    assert VERSIONS.items() <= NEWEST_OF_GROUPS.items()


def test_every_score_of_labels_and_steering_is_listed_with_its_version() -> None:
    for name in ADDED_METRICS:
        assert newest_version(name) == (label_scores if name in LABEL_METRICS else steering_score).VERSION, name


def test_companions_follow_their_metric() -> None:
    assert newest_version("ms_score_null_undefined") == 2
    assert newest_version("floor_mean_accuracy") == newest_version("macs_reconstruct") == 1
    assert newest_version("efficiency_ratio_edit_compiled") == newest_version("throughput") == 1
    assert newest_version("mine") is newest_version("mine_undefined") is None
