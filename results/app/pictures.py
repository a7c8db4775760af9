"""Pictures of a unit on a page: its tiles, row by row in one picture, kept until a file changes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from PIL import Image

from results.pictures.image_files import find
from results.pictures.tiles import OPACITY, Overlay, PictureTile, Seen, drawn_tile, visible_square

GAP_PX = 3


def strip(
    tiles: Sequence[PictureTile],
    image_folders: Sequence[Path],
    seen: Seen,
    *,
    tile_px: int,
    columns: int,
    overlay: Overlay = "heat map",
    opacity: float = OPACITY,
) -> bytes:
    """Return the tiles as one WebP picture, row by row, each with its overlay."""
    paths = tuple(find(tile.name, image_folders) for tile in tiles)
    stamps = tuple(None if path is None else path.stat().st_mtime_ns for path in paths)
    return _strip(tuple(tiles), paths, stamps, seen, tile_px, columns, overlay, opacity)


def embedded(picture: bytes, kind: str = "webp") -> str:
    """Return a picture as a URL that holds it: streamlit would convert WebP to PNG, which takes longer than drawing."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def decode_ahead(names: Sequence[str | None], image_folders: Sequence[Path], seen: Seen, px: int) -> None:
    """Decode the images of a page on all processors, so that the pictures drawn from them need not wait."""
    paths = {path for name in set(names) if (path := find(name, image_folders)) is not None}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda path: visible_square(path, path.stat().st_mtime_ns, seen.view, px), sorted(paths)))


# Pictures of a page are drawn again at every interaction with it.
@lru_cache(maxsize=512)
def _strip(
    tiles: tuple[PictureTile, ...],
    paths: tuple[Path | None, ...],
    stamps: tuple[int | None, ...],
    seen: Seen,
    tile_px: int,
    columns: int,
    overlay: Overlay,
    opacity: float,
) -> bytes:
    rows = max(1, math.ceil(len(tiles) / columns))
    step = tile_px + GAP_PX
    # With transparency, so that gaps and missing tiles are the page's own colour, light or dark.
    canvas = Image.new("RGBA", (columns * step - GAP_PX, rows * step - GAP_PX), (255, 255, 255, 0))
    for number, (tile, path, stamp) in enumerate(zip(tiles, paths, stamps, strict=True)):
        row, column = divmod(number, columns)
        canvas.paste(drawn_tile(tile, path, stamp, seen, tile_px, overlay, opacity), (column * step, row * step))
    buffer = io.BytesIO()
    canvas.save(buffer, "WEBP", quality=85, method=2)
    return buffer.getvalue()
