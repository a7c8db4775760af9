"""Content of a submission's folder: its documents, each checked by itself, and the tables that belong to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from results.errors import StoreError
from results.submissions.document_checks import document_problems
from results.submissions.files import FolderProblem, listing, read_bounded, results_folder
from results.submissions.paths import JSON, PARQUET, table_file
from results.submissions.text import parse, render

#: Most problems that are named of one file.
MAX_PROBLEMS = 20
#: Most bytes of all documents together, which are held in memory.
MAX_TEXT_BYTES = 2_000_000_000


class Document(NamedTuple):
    """A document without problems, and its path within the folder."""

    path: PurePosixPath
    content: Mapping[str, Any]

    def problem(self, field: str, why: str) -> FolderProblem:
        """Return a problem of this document."""
        return FolderProblem(str(self.path), field, why)

    def tables(self) -> dict[str, PurePosixPath]:
        """Return table -> path of its Parquet file."""
        return {name: table_file(self.path, name) for name in self.content.get("tables", {})}


class Folder(NamedTuple):
    """Documents of a folder by kind, in the order of their paths, and the problems of its files."""

    root: Path
    documents: Mapping[str, list[Document]]
    """kind -> its documents"""
    n_files: int
    problems: list[FolderProblem]

    @property
    def cells(self) -> list[Document]:
        return self.documents["cell"]


def read_folder(folder: Path) -> Folder:
    """Read the documents of a folder: a results repository, or its folder `results`.

    A document with a problem is left out, and its problems are named.

    Raises:
        StoreError: there is no such folder, or it has too many files.
    """
    root = results_folder(folder)
    files, problems = listing(root)
    documents: dict[str, list[Document]] = {"cell": [], "group": [], "images": [], "tournament": []}
    size = 0
    for path in files:
        if path.suffix == PARQUET:
            continue
        if path.suffix != JSON:
            problems.append(FolderProblem(str(path)[:300], "", "is no file of a submission; keep it outside."))
            continue
        document, wrong, n_bytes = _document(root, path)
        problems += wrong
        size += n_bytes
        if size > MAX_TEXT_BYTES:
            raise StoreError(f"{root} has more than {MAX_TEXT_BYTES} bytes of text, and at most so many are read.")
        if document is not None:
            documents[document["kind"]].append(Document(path, document))
    result = Folder(root, documents, len(files), problems)
    problems += _table_problems(result, {path for path in files if path.suffix == PARQUET})
    problems += _twins(result)
    return result


def _document(root: Path, path: PurePosixPath) -> tuple[dict[str, Any] | None, list[FolderProblem], int]:
    """Return a document, or None and its problems; and its number of bytes."""
    try:
        content = read_bounded(root, path)
        document = parse(content)
    except StoreError as error:
        return None, [FolderProblem(str(path), "", f"{error}.")], 0
    pairs = itertools.islice(document_problems(document, path), MAX_PROBLEMS)
    problems = [FolderProblem(str(path), field, why) for field, why in pairs]
    if not problems and render(document).encode("utf-8", "backslashreplace") != content:
        why = "is not written as `harness submit` writes it (order, spaces, a key twice); submit it again."
        problems = [FolderProblem(str(path), "", why)]
    return (None if problems else document), problems, len(content)


def _table_problems(folder: Folder, present: set[PurePosixPath]) -> Iterator[FolderProblem]:
    """Yield tables that are named and missing, or present and not named."""
    named: set[PurePosixPath] = set()
    for document in itertools.chain(*folder.documents.values()):
        for table, path in document.tables().items():
            named.add(path)
            if path not in present:
                yield document.problem(f"tables.{table}", f"is named, and there is no file {path.name}.")
    broken = {problem.file for problem in folder.problems}
    for path in sorted(present - named):
        owner = f"{str(path).rsplit('.', 2)[0]}{JSON}"
        if owner not in broken:
            yield FolderProblem(str(path)[:300], "", "is a table that no document names.")


def _twins(folder: Folder) -> Iterator[FolderProblem]:
    """Yield cells and groups that are in several files, and keep the first of them."""
    for kind, key in (("cell", "cell_id"), ("group", "group_id")):
        first: dict[str, Document] = {}
        for document in folder.documents[kind]:
            earlier = first.setdefault(document.content[key], document)
            if earlier is not document:
                yield document.problem(key, f"is also that of {earlier.path}: each result is submitted once.")
        folder.documents[kind][:] = first.values()
