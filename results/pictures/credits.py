"""Attribution of the shipped photographs: holder, licence and origin of each."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: File of `attribution.csv`'s folder with the text of a licence, by the start of the licence's name; others are named
#: by the address of their text.
_TEXTS = {"GPL-3": "GPL-3.txt", "GPL-2": "GPL-2.txt", "GFDL-NIV-1.2": "GFDL-1.2.txt"}


class Credit(NamedTuple):
    """Attribution of one image."""

    file: str
    holder: str
    licence: str
    text: str
    """file of the licence's text in the site's folder `licences`; empty if there is none"""
    address: str
    """address of the licence's text; empty if there is none"""
    origin: str


def credits_of(photos: Path) -> Mapping[str, Credit]:
    """Return file name -> attribution, of the folder of the photographs; nothing if it has no list of them."""
    try:
        with open(photos / "attribution.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    return {row["file"]: _credit(row) for row in rows}


def _credit(row: Mapping[str, str]) -> Credit:
    licence = row["license"]
    text = next((file for start, file in _TEXTS.items() if licence.startswith(start)), "")
    address = "" if text or licence == "public-domain" else _address(licence)
    origin = row["origin"] or f"{row['source_package']}, {row['source_path']}"
    return Credit(row["file"], row["copyright"], licence, text, address, origin)


def _address(licence: str) -> str:
    kind, _, version = licence.lower().rpartition("-")
    if kind == "cc0":
        return f"creativecommons.org/publicdomain/zero/{version}/legalcode"
    return f"creativecommons.org/licenses/{kind.removeprefix('cc-')}/{version}/legalcode"
