"""Files that settings name: found at any depth, identified by their content, whatever the spelling of the path."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, DirectoryPath, FilePath, ValidationError

from methods import METHODS, file_settings
from methods.base import MethodConfig, make_config
from methods.errors import UserError
from methods.file_settings import content_of, files_of, load_config, plain_config, same_settings


class Inner(BaseModel):
    file: FilePath
    note: Path = Path("plain")


class Pair(NamedTuple):
    left: FilePath
    right: int


@dataclasses.dataclass(frozen=True)
class Plain:
    file: FilePath
    size: int = 1


class FilesConfig(MethodConfig):
    one: FilePath
    maybe: FilePath | None = None
    several: tuple[FilePath, ...] = ()
    named: dict[str, FilePath] = {}
    inner: Inner | None = None
    inners: list[Inner] = []
    pair: Pair | None = None
    plain: Plain | None = None
    either: FilePath | Literal["random"] = "random"
    folder: DirectoryPath | None = None
    text: str = "x"
    path: Path = Path("somewhere")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        (tmp_path / name).write_text(name)
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "d").write_text("d")
    return tmp_path


EVERYWHERE: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("one", lambda path: {"one": path}),
    ("maybe", lambda path: {"maybe": path}),
    ("several.1", lambda path: {"several": ["a", path]}),
    ("named.x", lambda path: {"named": {"x": path}}),
    ("inner.file", lambda path: {"inner": {"file": path}}),
    ("inners.0.file", lambda path: {"inners": [{"file": path}]}),
    ("pair.0", lambda path: {"pair": (path, 1)}),
    ("plain.file", lambda path: {"plain": {"file": path}}),
    ("either", lambda path: {"either": Path(path)}),
]


@pytest.mark.parametrize(("where", "values"), EVERYWHERE, ids=[where for where, _ in EVERYWHERE])
def test_only_the_content_counts_wherever_a_file_is_named(
    where: str, values: Callable[[str], dict[str, Any]], files: Path
) -> None:
    def config(path: str) -> FilesConfig:
        return FilesConfig(**{"one": "a", **values(path)})  # type: ignore[arg-type]

    assert str(files_of(config("b"))[where]) == "b"
    before = plain_config(config("b"))
    assert str(content_of(Path("b"))) in str(before) and "'b'" not in str(before)
    (files / "link").symlink_to("b")
    os.link(files / "b", files / "hard")
    (files / "copy").write_text("b")
    for spelling in ("./b", "folder/../b", str(files / "b"), "link", "hard", "copy"):
        assert plain_config(config(spelling)) == before
        assert same_settings(config(spelling), config("b"))
    (files / "b").write_text("B")
    assert plain_config(config("b")) != before


def test_other_settings_stay_as_they_are(files: Path) -> None:
    config = FilesConfig(one=Path("a"), inner=Inner(file=Path("a"), note=Path("n")))
    plain = plain_config(config)
    assert plain["path"] == "somewhere" and plain["either"] == "random" and plain["inner"]["note"] == "n"
    assert not same_settings(config, config.model_copy(update={"text": "y"}))
    for entry in METHODS:
        if entry.name not in ("pretrained_sae",) and not entry.module:
            defaults = entry.load().Config
            if all(not field.is_required() for field in defaults.model_fields.values()):
                assert plain_config(defaults()) == defaults().model_dump(mode="json")


def test_a_default_is_a_file_too(files: Path) -> None:
    class Default(MethodConfig):
        weights: FilePath = "a"  # type: ignore[assignment]

    assert plain_config(Default()) == {"weights": content_of(Path("a"))}


def test_a_folder_is_its_names_and_contents(files: Path) -> None:
    folder = files / "folder"
    before = content_of(folder)
    (files / "same").symlink_to(folder, target_is_directory=True)
    assert content_of(files / "same") == before
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    assert content_of(folder) == before
    (folder / "deep" / "d").rename(folder / "deep" / "e")
    renamed = content_of(folder)
    (folder / "deep" / "e").write_text("e")
    assert len({before, renamed, content_of(folder)}) == 3


def test_a_large_file_is_read_once(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = open

    def counted(path: Any, *arguments: Any) -> Any:
        reads.append(path)
        return real(path, *arguments)

    monkeypatch.setattr(file_settings, "open", counted, raising=False)
    first = content_of(files / "a")
    assert content_of(files / "folder" / ".." / "a") == first and len(reads) == 1
    status = (files / "a").stat()
    (files / "a").write_text("z")
    os.utime(files / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content_of(files / "a") != first, "of the same size and time, as `cp -p` may leave it"


def test_what_cannot_be_read_is_one_sentence(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Weights:
        spec = METHODS.get("identity").spec
        Config = FilesConfig

    for path in ("missing", "folder", "a\0b"):
        with pytest.raises(UserError, match=r"identity\.one = "):
            make_config(Weights, {"one": path})  # type: ignore[arg-type]
    config = FilesConfig(one=Path("a"))
    (files / "a").unlink()
    with pytest.raises(UserError, match=r"'a', which a setting names, cannot be read \(No such file"):
        plain_config(config)
    os.mkfifo(files / "folder" / "pipe")
    with pytest.raises(UserError, match="no regular file"):
        content_of(files / "folder")
    (files / "folder" / "pipe").unlink()
    monkeypatch.setattr(file_settings, "MOST_FILES", 0)
    with pytest.raises(UserError, match="more than 0 files"):
        content_of(files / "folder")


def test_a_fitted_method_needs_its_files_no_longer(files: Path) -> None:
    values = FilesConfig(
        one=Path("a"), maybe=Path("b"), inners=[Inner(file=Path("c"))], folder=Path("folder")
    ).model_dump(mode="json")
    before = load_config(FilesConfig, values)
    for name in "abc":
        (files / name).unlink()
    (files / "folder").rename(files / "moved")
    after = load_config(FilesConfig, values)
    assert after == before and after.inners[0].file == Path("c")
    with pytest.raises(ValidationError):
        load_config(FilesConfig, {**values, "text": 3})


def test_linked_folders_count_as_their_copies(tmp_path: Path) -> None:
    for name in ("copied/a", "copied/b", "weights", "linked"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("copied/a", "copied/b", "weights"):
        (tmp_path / name / "w").write_text("1")
    for name in ("a", "b"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "weights")
    (tmp_path / "linked" / "above").symlink_to(tmp_path / "linked")
    assert content_of(tmp_path / "linked") == content_of(tmp_path / "copied")


def test_folders_of_links_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_settings, "MOST_FILES", 300)
    inner = tmp_path / "0"
    inner.mkdir()
    for number in range(1, 31):
        outer = tmp_path / str(number)
        outer.mkdir()
        for name in ("a", "b"):
            (outer / name).symlink_to(inner)
        inner = outer
    with pytest.raises(UserError, match="more than 300 files"):
        content_of(inner)


def test_a_path_with_a_null_character_is_one_sentence() -> None:
    with pytest.raises(UserError, match="which a setting names, cannot be read"):
        content_of(Path("a\0b"))
