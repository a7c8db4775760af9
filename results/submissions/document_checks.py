"""Check of one document by itself: its form, its fields, its identity, and that its path agrees with its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from results.submissions.documents import CURVE_POINTS, key_parts, params_hash, score_key
from results.submissions.fields import (
    CELL,
    FORMAT,
    GROUP,
    GROUP_SCORE,
    HASH,
    IDENTITY,
    IMAGE,
    METRIC,
    RUN,
    SCORE,
    SENTENCE,
    SUBMISSION,
    TABLE,
    TOURNAMENT,
    WIN_RATE,
    Field,
    seen,
    wrong_fields,
)
from results.submissions.identities import ID_LENGTH, group_hashes, identity_problems
from results.submissions.parquet import CELL_PARQUET, TOURNAMENT_PARQUET
from results.submissions.paths import GROUP as GROUP_ENDING
from results.submissions.paths import IMAGES, JSON, TOURNAMENTS, cell_folder, is_hash, slug

Problems = Iterator[tuple[str, str]]
"""field and reason, one pair per problem"""

#: Largest number of scores of a cell, of its curves, of images, and of methods of a tournament.
MAX_SCORES, MAX_CURVES, MAX_IMAGES, MAX_ENTRANTS = 2_000, 200, 200_000, 1_000


class DocumentKind(NamedTuple):
    """Kind of document: its parts, the check of their content, and the path that the content asks for."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], Problems]
    path: Callable[[Mapping[str, Any]], PurePosixPath | None]
    """document without problems -> its path; None: it may lie in the folder of any method"""


def document_problems(document: Mapping[str, Any], path: PurePosixPath) -> Problems:
    """Yield what is wrong with a document, each with the field and the reason; nothing if it is right."""
    kind = KINDS.get(document["kind"]) if isinstance(document.get("kind"), str) else None
    if kind is None:
        yield "kind", f"is missing or unknown; it is one of {', '.join(KINDS)}."
        return
    if document.get("format") != FORMAT or isinstance(document["format"], bool):
        yield "format", f"is not {FORMAT}, the version that this program reads; upgrade it, or submit again."
        return
    parts = ("format", "kind", *kind.required)
    lacking = [name for name in parts if name not in document]
    unknown = [name for name in document if name not in (*parts, *kind.optional)]
    if lacking or unknown:
        yield from ((name, "is missing.") for name in lacking)
        yield from ((seen(name), f"is no part of a {document['kind']} document.") for name in unknown)
        return
    is_right = True
    for problem in kind.check(document):
        is_right = False
        yield problem
    if is_right:
        yield from _path_problems(document, path, kind)


def _path_problems(document: Mapping[str, Any], path: PurePosixPath, kind: DocumentKind) -> Problems:
    expected = kind.path(document)
    if expected is None:
        if len(path.parts) != 4 or path.name != f"{document['group_id']}{GROUP_ENDING}":
            yield "group_id", f"belongs into BACKBONE/SITE/METHOD/{document['group_id']}{GROUP_ENDING}."
    elif path != expected:
        yield "", f"lies at the wrong path: its content belongs into {expected}."


# Cells


def _cell(document: Mapping[str, Any]) -> Problems:
    if not _is_id(document["cell_id"]):
        yield "cell_id", f"must be {ID_LENGTH} hexadecimal digits."
        return
    columns = [*wrong_fields(document["cell"], CELL, "cell")]
    yield from columns
    is_identity = isinstance(document["identity"], Mapping)
    if wanted := IDENTITY.check(document["identity"]) if is_identity else "an object":
        yield "identity", f"must be {wanted}."
    elif not columns:
        yield from identity_problems(document["cell_id"], document["cell"], document["identity"])
    yield from _scores(document["scores"], SCORE)
    yield from _metric_versions(document)
    yield from _flags(document["flags"])
    yield from _tables(document["tables"], CELL_PARQUET)
    yield from wrong_fields(document["submission"], SUBMISSION, "submission")
    if "run" in document:
        yield from wrong_fields(document["run"], RUN, "run")
    yield from _curves(document.get("curves", {}))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and is_hash(value) and len(value) == ID_LENGTH


def _scores(scores: Any, fields: Mapping[str, Field]) -> Problems:
    if not isinstance(scores, Mapping) or not 0 < len(scores) <= MAX_SCORES:
        yield "scores", f"must be an object with 1 to {MAX_SCORES} scores."
        return
    for key, score in scores.items():
        parts = key_parts(key)
        with_hash = fields is SCORE and parts is not None and score_key(*parts) == key
        if parts is None or not (with_hash or key == f"{parts[0]}@{parts[1]}"):
            form = "METRIC@VERSION, or METRIC@VERSION#HASH with the hash of its parameters"
            yield f"scores.{seen(key)}", f"has a key that is not {form}."
            continue
        wrong = [*wrong_fields(score, fields, f"scores.{key}")]
        yield from wrong
        if not wrong and fields is SCORE and parts[2] != params_hash(score):
            yield f"scores.{key}", f"has the wrong hash of its parameters; it is {params_hash(score)}."


def _metric_versions(document: Mapping[str, Any]) -> Problems:
    """Yield scores of another version of a metric than the identity names: they are of another cell."""
    metrics = document["identity"].get("metrics") if isinstance(document["identity"], Mapping) else None
    if not isinstance(metrics, Mapping) or not isinstance(document["scores"], Mapping):
        return
    for key in document["scores"]:
        parts = key_parts(key)
        planned = metrics.get(parts[0]) if parts else None
        if parts and isinstance(planned, int) and planned != parts[1]:
            yield f"scores.{key}", f"is version {parts[1]}, and the identity names version {planned} of the metric."


def _flags(flags: Any) -> Problems:
    if not isinstance(flags, Mapping):
        yield "flags", "must be an object: flag to sentence."
        return
    for name, sentence in flags.items():
        if wanted := SENTENCE.check(name) or SENTENCE.check(sentence):
            yield f"flags.{seen(name)}", f"must be {wanted}."


def _tables(tables: Any, allowed: tuple[str, ...]) -> Problems:
    yield from wrong_fields(tables, {name: Field(lambda _: "") for name in allowed}, "tables")
    if isinstance(tables, Mapping):
        for name in allowed:
            if name in tables:
                yield from wrong_fields(tables[name], TABLE, f"tables.{name}")


def _curves(curves: Any) -> Problems:
    if not isinstance(curves, Mapping) or len(curves) > MAX_CURVES:
        yield "curves", f"must be an object: at most {MAX_CURVES} series to steps and values."
        return
    for series, points in curves.items():
        at = f"curves.{seen(series)}"
        if METRIC.check(series) or not isinstance(points, Mapping) or set(points) != {"step", "value"}:
            yield at, "must have a plain name, and the lists step and value."
            continue
        steps, values = points["step"], points["value"]
        if not isinstance(steps, list) or not isinstance(values, list) or len(steps) != len(values) or not steps:
            yield at, "must have as many steps as values, and at least one."
        elif len(steps) > CURVE_POINTS:
            yield at, f"has {len(steps)} points, and at most {CURVE_POINTS} are read."
        else:
            pairs = zip(steps, values, strict=True)
            wrong = [SCORE["n"].check(step) or SCORE["value"].check(value) for step, value in pairs]
            yield from ((at, f"has a step or value that is not {words}.") for words in sorted({*wrong} - {""}))


# Groups, images, tournaments


def _group(document: Mapping[str, Any]) -> Problems:
    wrong = [*wrong_fields(document["group"], GROUP, "group")]
    yield from wrong
    yield from _scores(document["scores"], GROUP_SCORE)
    if not wrong:
        ids = document["group"]["cell_ids"]
        if len(set(ids)) < 2 or not all(map(_is_id, ids)):
            yield "group.cell_ids", "must be the ids of two or more cells."
        elif not _is_id(document["group_id"]) or document["group_id"] not in group_hashes(ids):
            yield "group_id", "is not the hash of the cells of the group."


def _images(document: Mapping[str, Any]) -> Problems:
    images = document["images"]
    if not _is_id(document["fingerprint"]):
        yield "fingerprint", f"must be {ID_LENGTH} hexadecimal digits."
    if not isinstance(images, list) or len(images) > MAX_IMAGES:
        yield "images", f"must be a list of at most {MAX_IMAGES} images."
        return
    is_right = True
    for position, image in enumerate(images):
        for problem in wrong_fields(image, IMAGE, f"images[{position}]"):
            is_right = False
            yield problem
    if is_right and [image["index"] for image in images] != [*range(len(images))]:
        yield "images", "must be in the order of their indices, 0 to n - 1, each once."


def _tournament(document: Mapping[str, Any]) -> Problems:
    if wanted := HASH.check(document["tournament"]):
        yield "tournament", f"must be {wanted}."
    yield from wrong_fields(document["judging"], TOURNAMENT, "judging")
    yield from _tables(document["tables"], TOURNAMENT_PARQUET)
    rates = document["win_rates"]
    if not isinstance(rates, list) or not 0 < len(rates) <= MAX_ENTRANTS:
        yield "win_rates", f"must be a list of 1 to {MAX_ENTRANTS} methods."
        return
    for position, rate in enumerate(rates):
        yield from wrong_fields(rate, WIN_RATE, f"win_rates[{position}]")
    if all(isinstance(rate, Mapping) for rate in rates):
        keys = {(ascii(rate.get("config_id")), ascii(rate.get("label"))) for rate in rates}
        if len(keys) < len(rates):
            yield "win_rates", "have the same configuration twice."


def _cell_path(document: Mapping[str, Any]) -> PurePosixPath:
    cell = document["cell"]
    return cell_folder(cell["backbone"], cell["site"], cell["method"]) / f"{document['cell_id']}{JSON}"


#: Kind of document -> its parts and checks.
KINDS: Mapping[str, DocumentKind] = {
    "cell": DocumentKind(
        ("cell_id", "cell", "identity", "scores", "flags", "tables", "submission"), ("run", "curves"), _cell, _cell_path
    ),
    "group": DocumentKind(("group_id", "group", "scores"), (), _group, lambda document: None),
    "images": DocumentKind(
        ("fingerprint", "images"),
        (),
        _images,
        lambda document: PurePosixPath(IMAGES, f"{document['fingerprint']}{JSON}"),
    ),
    "tournament": DocumentKind(
        ("tournament", "judging", "win_rates", "tables"),
        (),
        _tournament,
        lambda document: PurePosixPath(TOURNAMENTS, f"{slug(document['tournament'])}{JSON}"),
    ),
}


def document_path(document: Mapping[str, Any]) -> PurePosixPath | None:
    """Return the path of a document that has no problems; None for that of a group, which lies beside its cells."""
    return KINDS[document["kind"]].path(document)
