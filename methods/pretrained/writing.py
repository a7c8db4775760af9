"""Writing of dictionaries in the formats of other programs; what was written is read back and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from methods.atomic import partial_file
from methods.base import Method
from methods.errors import UserError, first_line
from methods.plugin_calls import calling_object
from methods.pretrained.reading import AUTO, HARNESS, read_weights
from methods.pretrained.reference import SUFFIX
from methods.pretrained.trained_dictionary import TrainedDictionary
from methods.pretrained.weight_formats import FORMATS
from methods.pretrained.weight_formats.base import Trained, WritableFormat
from methods.registry import did_you_mean
from methods.requirements import is_finite
from results.visible_text import one_line

#: Standard deviations of the pre-codes of random rows: at some of them thresholds decide, whatever they are.
SCALES = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
#: Rows of random numbers for each scale.
ROWS = 32
#: Largest difference of codes and reconstructions, relative to the terms that they are sums of.
TOLERANCE = 1e-6
#: Share of the rows in which a method and its trained dictionary must agree: where two units are equal up to rounding,
#: a top-k may choose either.
SHARE = 0.95


def writable_names() -> list[str]:
    """Return the names of the formats that can be written."""
    return [entry.name for entry in FORMATS if issubclass(entry.load(), WritableFormat)]


def write_dictionary(
    method: Method,
    path: Path,
    format_name: str,
    *,
    site: str | None = None,
    backbone: str | None = None,
    provenance: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a fitted method in a format of another program, and return the file or folder.

    It is written beside ``path``, read back and compared there, and moved when it is complete.

    Args:
        method: the fitted method.
        path: file or folder to write.
        format_name: one of :func:`writable_names`.
        site: path of the module that it was fitted on.
        backbone: name of the backbone.
        provenance: further texts on its origin.
        overwrite: replace an existing file, or these files of an existing folder.

    Raises:
        UserError: if the format cannot be written or has no place for the method, if ``path`` exists or cannot be
            written, or if what was written gives other codes or reconstructions.
    """
    writer = _writer(format_name)
    try:
        _require_target(path, writer, overwrite)
        with torch.no_grad(), calling_object("method", method.spec.name, type(method)):
            dictionary = _trained_dictionary(method)
        _write(writer, Trained(dictionary, site, backbone), path, provenance or {}, method.spec.name)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{str(path)!r} cannot be written ({first_line(error)}): give another path.") from error
    return path


def _write(
    writer: WritableFormat, trained: Trained, path: Path, provenance: Mapping[str, str], method_name: str
) -> None:
    """Write a dictionary beside ``path``, compare it, and give it its name."""
    target = path.resolve()  # "." has no name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent) as folder:
        written = Path(folder) / target.name
        if writer.writes_folder:
            written.mkdir()
        try:
            writer.write(trained, written, dict(provenance))
            _require_read_back(trained.dictionary, written, writer.name)
            _move(written, target)
        except UserError as error:
            raise UserError(
                f"{method_name} cannot be written in the format {writer.name}: {str(error).rstrip('.')}."
            ) from error


def _writer(name: str) -> WritableFormat:
    """Return the writer of a format.

    Raises:
        UserError: if there is none.
    """
    names = writable_names()
    if name == HARNESS:
        raise UserError(
            f"The format {HARNESS} is what Method.save(PATH) writes; other formats that can be written are "
            f"{', '.join(names)}."
        )
    if name not in FORMATS.names():
        raise UserError(f"There is no format {name[:40]!r} of weights. {did_you_mean(name, names)}")
    writer = FORMATS.get(name)()
    if not isinstance(writer, WritableFormat):
        raise UserError(f"The format {name} can be read, not written; formats that can be are {', '.join(names)}.")
    return writer


def _require_target(path: Path, writer: WritableFormat, overwrite: bool) -> None:
    """Check that nothing is lost by writing to a path, and that its form is that of the format.

    Raises:
        UserError: if it is not so.
    """
    if writer.writes_folder:
        if path.suffix == SUFFIX:
            raise UserError(
                f"The format {writer.name} is a folder, and {str(path)!r} is named as a file: name a folder."
            )
        if path.exists() and not path.is_dir():
            raise UserError(f"The format {writer.name} is a folder, and {str(path)!r} is a file: give another path.")
        if path.exists() and not overwrite and any(path.iterdir()):
            raise UserError(
                f"The folder {str(path)!r} is not empty: give a new one, or overwrite it (overwrite=True, or --force)."
            )
        return
    if path.is_dir():
        raise UserError(f"The format {writer.name} is one file, and {str(path)!r} is a folder: give a path in it.")
    if path.suffix != SUFFIX:
        raise UserError(f"The format {writer.name} is one file that ends in {SUFFIX}, not {path.name[:80]!r}.")
    if path.exists() and not overwrite:
        raise UserError(
            f"The file {str(path)!r} exists: give another path, or overwrite it (overwrite=True, or --force)."
        )


def _move(written: Path, target: Path) -> None:
    """Give a complete file or folder its name; files of an existing folder are replaced one by one.

    Raises:
        UserError: if an existing folder has other files, with which what is written could not be read.
    """
    files = sorted(written.iterdir()) if written.is_dir() else [written]
    for file in files:
        # On disk, and with the permissions of any other new file.
        with partial_file(file) as partial:
            file.replace(partial)
    if not written.is_dir() or not target.exists():
        written.replace(target)
        return
    names = [file.name for file in files]
    if others := sorted(file.name for file in target.iterdir() if file.name not in names):
        raise UserError(f"the folder {str(target)!r} has other files ({one_line(others[0])!r}): give a new one")
    for file in files:
        file.replace(target / file.name)


# ---- the same dictionary


def _trained_dictionary(method: Method) -> TrainedDictionary:
    """Return a method as a trained dictionary on the CPU, after a comparison of both.

    Raises:
        UserError: if the method has no such form, is not fitted, or computes something else than its form.
    """
    form = method.as_trained_dictionary()
    if not_finite := [name for name in form.fitted if not is_finite(getattr(form, name))]:
        raise UserError(f"The tensor {not_finite[0]} of {method.spec.name} contains NaN or infinity: fit it again.")
    rows = random_rows(form)
    codes, form_codes = method.encode(rows), form.encode(rows)
    outputs = method.reconstruct(codes, rows), form.reconstruct(form_codes, rows)
    agreeing = _agreeing(form, rows, (codes, outputs[0]), (form_codes, outputs[1]))
    if float(agreeing.float().mean()) < SHARE:
        raise UserError(
            f"{method.spec.name} gives other codes or reconstructions than its form as a trained dictionary on "
            f"{int((~agreeing).sum())} of {len(agreeing)} random rows, so it cannot be written: correct its "
            "as_trained_dictionary."
        )
    copy = TrainedDictionary(form.config)
    for name in copy.fitted:
        setattr(copy, name, getattr(form, name).detach().cpu())
    return copy


def random_rows(dictionary: TrainedDictionary) -> Tensor:
    """Return random rows (n, d_in) in float64, always the same for the same dictionary.

    Those of the layer's output are around the output bias, where a dictionary of centred tokens has its origin.
    """
    weight = dictionary.encoder_weight
    width = weight.shape[1]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(len(SCALES), ROWS, width, generator=generator, dtype=torch.float64)
    # With rows of the standard deviation s, pre-codes have s times the length of their row of the encoder.
    spread = 1 / max(float(weight.square().sum(1).mean().sqrt()), 1e-30)
    rows = spread * torch.tensor(SCALES)[:, None, None] * drawn
    if dictionary.config.reads == "output":
        rows = rows + dictionary.output_bias.double().cpu()
    return rows.reshape(-1, width).to(weight.device)


def _agreeing(
    dictionary: TrainedDictionary, rows: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> Tensor:
    """Return True for each row (n,) in which two pairs of codes and reconstructions are the same up to rounding."""
    if any(a.shape != b.shape for a, b in zip(first, second, strict=True)):
        return torch.zeros(len(rows), dtype=torch.bool)
    reach = float(dictionary.encoder_weight.norm(dim=1).max()), float(dictionary.atoms.norm(dim=1).max())
    length = rows.norm(dim=1) if dictionary.config.token_scale == "none" else rows.shape[1] ** 0.5
    codes = length * reach[0] + float(dictionary.encoder_bias.abs().max()) + first[0].abs().amax(1)
    output = first[0].abs().sum(1) * reach[1] + float(dictionary.output_bias.abs().max()) + first[1].abs().amax(1)
    if dictionary.config.skip:
        output = output + rows.norm(dim=1) * float(dictionary.skip_weight.norm(dim=1).max())
    limits = (TOLERANCE * codes, TOLERANCE * output)
    same = [(a - b).abs().amax(1) <= limit for a, b, limit in zip(first, second, limits, strict=True)]
    return torch.stack(same).all(0).cpu()


def _require_read_back(dictionary: TrainedDictionary, written: Path, format_name: str) -> None:
    """Check that what was written is recognised, and read as the same dictionary.

    Raises:
        UserError: if it is not so.
    """
    loaded = read_weights(written, AUTO, "cpu", name=written.name)
    if loaded.format != format_name:
        raise UserError(f"what was written is read as the format {loaded.format}")
    again, rows = loaded.method, random_rows(dictionary)
    with torch.no_grad():
        codes, codes_again = dictionary.encode(rows), again.encode(rows)
        outputs = dictionary.reconstruct(codes, rows), again.reconstruct(codes_again, rows)
    agreeing = _agreeing(dictionary, rows, (codes, outputs[0]), (codes_again, outputs[1]))
    if not bool(agreeing.all()):
        raise UserError(
            f"what was written gives other codes or reconstructions on {int((~agreeing).sum())} of {len(rows)} random "
            "rows"
        )
