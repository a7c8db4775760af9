"""Wrong names, settings and files: what every registered method says; its contract is tested with `harness check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_memory import small_layer

import methods


def test_unfitted_methods_say_so() -> None:
    for name in methods.names():
        # Weights are read by fit; no file is needed before.
        config = {"weights": "absent.safetensors"} if name == "pretrained_sae" else {}
        method = methods.create(name, **config)
        with pytest.raises(methods.UserError, match="not fitted"):
            method.save("nowhere.safetensors")


def test_unknown_names_and_settings_teach() -> None:
    with pytest.raises(methods.UserError, match="Did you mean elude"):
        methods.create("eldue")
    with pytest.raises(methods.UserError, match="Did you mean min_cluster_size"):
        methods.create("elude", min_clustersize=10)
    with pytest.raises(methods.UserError, match=r"topk_sae\.k = 0"):
        methods.create("topk_sae", k=0)
    with pytest.raises(methods.UserError, match="larger than top_k"):
        methods.create("elude", top_k=10, min_cluster_size=20)


def test_a_file_of_another_method_is_refused(tmp_path: Path) -> None:
    site, tokens = small_layer()
    path = methods.create("identity").fit(tokens, site).save(tmp_path / "m.safetensors")
    with pytest.raises(methods.UserError, match="contains the method 'identity'"):
        methods.METHODS.get("elude").load(path)
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(methods.UserError, match="not a method saved"):
        methods.load(tmp_path / "junk.safetensors")
    with pytest.raises(methods.UserError, match="no saved method"):
        methods.load(tmp_path / "absent.safetensors")
