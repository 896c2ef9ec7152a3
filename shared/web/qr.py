"""A QR code as one path of an SVG, for a sheet of paper."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import segno


@dataclass(frozen=True, slots=True)
class Qr:
    """`path` is SVG path data in a box of `size` by `size`. The paper around it serves as its margin."""

    size: int
    path: str


def qr(text: str) -> Qr:
    """Return the QR code of `text`, readable with a seventh of it damaged (level M of ISO/IEC 18004).

    Raises:
        ValueError: the text is too long for any code.
    """
    matrix = segno.make_qr(text, error="m", boost_error=False).matrix
    runs = []
    for line, row in enumerate(matrix):
        start = 0
        for dark, modules in groupby(row, bool):
            length = len(list(modules))
            if dark:
                runs.append(f"M{start} {line}h{length}v1h-{length}z")
            start += length
    return Qr(len(matrix), "".join(runs))
