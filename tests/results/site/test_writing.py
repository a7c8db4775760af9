"""Folder of a site: complete or not there; other people's files stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from results import StoreError
from results.processes import host
from results.site.writing import MARKER, Staged, is_safe, require_folder, staged


def write(out: Path, *names: str, force: bool = False) -> None:
    require_folder(out, force=force)
    with staged(out) as stage:
        for name in names:
            stage.add(name, name.encode())


def listed(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_a_new_folder_appears_with_all_files(tmp_path: Path) -> None:
    write(tmp_path / "a" / "site", "index.html", "img/x.webp")
    assert listed(tmp_path) == {f"a/site/{name}" for name in ("index.html", "img/x.webp", MARKER)}


def test_an_earlier_site_is_replaced_and_its_old_files_go(tmp_path: Path) -> None:
    write(tmp_path / "site", "index.html", "img/x.webp", "img/y.webp", "methods/a.html")
    (tmp_path / "site" / "README.md").write_text("of the repository")
    (tmp_path / "site" / ".git").mkdir()
    write(tmp_path / "site", "index.html", "img/y.webp")
    assert listed(tmp_path / "site") == {"index.html", "img/y.webp", "README.md", MARKER}
    assert (tmp_path / "site" / ".git").is_dir() and not (tmp_path / "site" / "methods").exists()


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    write(tmp_path / "site", "index.html")
    assert listed(tmp_path / "site") == {"index.html", MARKER}


def test_a_folder_with_other_content_needs_force(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="--force"):
        write(tmp_path, "index.html")
    assert listed(tmp_path) == {"notes.txt"}
    write(tmp_path, "index.html", force=True)
    assert listed(tmp_path) == {"notes.txt", "index.html", MARKER}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        write(tmp_path / "site", "index.html", force=True)


def test_a_failure_leaves_everything_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "site", "index.html", "img/x.webp")
    with pytest.raises(RuntimeError), staged(tmp_path / "site") as stage:
        stage.add("index.html", b"new")
        raise RuntimeError
    assert (tmp_path / "site" / "index.html").read_bytes() == b"index.html"
    assert listed(tmp_path) == {"site/index.html", "site/img/x.webp", f"site/{MARKER}"}


@pytest.mark.parametrize(
    "path",
    [
        "../x.html",
        "/x.html",
        "a/../x.html",
        "",
        "a//b.html",
        ".git/x.html",
        "x.py",
        "a\\b.html",
        "x.html\n",
        "a b.html",
    ],
)
def test_no_path_leads_out_or_is_of_another_kind(tmp_path: Path, path: str) -> None:
    assert not is_safe(path)
    with pytest.raises(ValueError, match="not a path"):
        Staged(tmp_path).add(path, b"")


def test_a_marker_of_somebody_else_removes_nothing_of_value(tmp_path: Path) -> None:
    site, outside = tmp_path / "site", tmp_path / "outside"
    for folder in (site, outside):
        folder.mkdir()
        (folder / "keep.txt").write_text("x")
    (site / "key").write_text("x")
    (site / "linked").symlink_to(outside)
    files = ["../outside/keep.txt", "linked/keep.txt", "key", str(outside / "keep.txt"), 3, None, "." * 5]
    (site / MARKER).write_text(json.dumps({"files": files}))
    write(site, "index.html")
    assert (outside / "keep.txt").exists() and (site / "key").exists()
    for content in ("[" * 100_000, "{}", '"x"', "\x00"):
        (site / MARKER).write_text(content)
        write(site, "index.html")


def test_a_linked_folder_inside_is_refused(tmp_path: Path) -> None:
    site, outside = tmp_path / "site", tmp_path / "outside"
    outside.mkdir()
    write(site, "index.html")
    (site / "img").symlink_to(outside)
    with pytest.raises(StoreError, match="not a folder of its own"):
        write(site, "img/x.webp")
    assert listed(outside) == set()


def test_what_a_killed_process_left_goes_and_everything_else_stays(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, living = int(ended.stdout), os.getpid()
    names = [
        f".site.{host()}-{dead}-0123abcd.new",
        f".site.{host()}-{living}-0123abcd.new",
        f".site.elsewhere-{dead}-0123abcd.new",
        f".site.{host()}-{dead}-mine.new",
        f".other.{host()}-{dead}-0123abcd.new",
    ]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text("half")
    (tmp_path / "precious").mkdir()
    link = tmp_path / f".site.{host()}-{dead}-ffffffff.new"
    link.symlink_to(tmp_path / "precious", target_is_directory=True)
    write(tmp_path / "site", "index.html")
    assert not (tmp_path / names[0]).exists()
    assert all((tmp_path / name / "index.html").exists() for name in names[1:])
    assert link.is_symlink() and (tmp_path / "precious").is_dir()


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_for_long(tmp_path: Path) -> None:
    script = (
        "import os, signal, pathlib\n"
        "from results.site.writing import staged\n"
        "with staged(pathlib.Path('site')) as stage:\n"
        "    stage.add('index.html', b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1 and not (tmp_path / "site").exists()
    write(tmp_path / "site", "index.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["site"]
