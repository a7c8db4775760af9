"""Provenance recorded with each number."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import provenance

TORCHHUB = "torchhub:facebookresearch/dinov2:dinov2_vitb14"


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("folder:/data/mine/birds", "folder:birds"),
        ("--dataset=folder:/data/mine/birds", "--dataset=folder:birds"),
        ("data.dataset=folder:/data/mine/birds", "data.dataset=folder:birds"),
        ('target."timm:test_vit".checkpoint=/data/w.pth', 'target."timm:test_vit".checkpoint=w.pth'),
        ("--checkpoint=/data/w.pth", "--checkpoint=w.pth"),
        ("/data/a=b/mine.toml", "mine.toml"),
        ("hf:google/siglip2-base-patch16-224", "hf:google/siglip2-base-patch16-224"),
        ("vlm:llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "vlm:llava-hf/llava-onevision-qwen2-0.5b-ov-hf"),
        ("vlm:/data/models/mine", "vlm:mine"),
        (TORCHHUB, TORCHHUB),
        ("method.elude.top_k=60000", "method.elude.top_k=60000"),
        ("--suite", "--suite"),
    ],
)
def test_the_command_is_kept_without_folders_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, word: str, kept: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/harness", "run", word])
    assert provenance.command_line() == f"harness run {kept}"


def test_of_a_local_hub_the_folders_name_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clone").mkdir()
    monkeypatch.setattr(sys, "argv", ["harness", f"torchhub:{tmp_path / 'clone'}:vit"])
    assert provenance.command_line() == "harness torchhub:clone:vit"


def test_the_revision_of_a_checkout_around_the_installation_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        words = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    installed = tmp_path / ".venv" / "harness" / "provenance.py"
    installed.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, installed)
    (tmp_path / "paper.tex").write_text("x")
    (tmp_path / ".gitignore").write_text(".venv\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "of somebody else")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.code_revision() is None
    git("add", "-f", str(installed))
    git("commit", "-qm", "ours")
    assert provenance.code_revision() == git("rev-parse", "--short=12", "HEAD")
    installed.write_text("changed")
    assert provenance.code_revision() == git("rev-parse", "--short=12", "HEAD") + "+changes"
