"""The QR code on a sheet: the drawing shows exactly the modules of the code."""

from __future__ import annotations

import re

import pytest
import segno

from shared.web.qr import qr

ADDRESS = "https://act.example/letters/posted/amina-haddad?code=7KQ4-M2XD-9FJ4"


def dark_modules(path: str) -> set[tuple[int, int]]:
    """Return the dark modules that an SVG path of rows fills, as (column, row)."""
    runs = re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", path)
    assert "".join(f"M{x} {y}h{wide}v1h-{back}z" for x, y, wide, back in runs) == path
    assert all(wide == back for _, _, wide, back in runs)
    return {(x, int(y)) for left, y, wide, _ in runs for x in range(int(left), int(left) + int(wide))}


def test_the_drawing_is_the_code() -> None:
    drawing, code = qr(ADDRESS), segno.make_qr(ADDRESS, error="m", boost_error=False)
    dark = {(x, y) for y, row in enumerate(code.matrix) for x, module in enumerate(row) if module}
    assert dark_modules(drawing.path) == dark
    assert drawing.size == len(code.matrix)


def test_the_three_corners_that_a_reader_looks_for_are_there() -> None:
    drawing = qr(ADDRESS)
    far_edge = drawing.size - 7
    for left, top in ((0, 0), (far_edge, 0), (0, far_edge)):
        ring = {(left + x, top + y) for x in range(7) for y in range(7) if x in {0, 6} or y in {0, 6}}
        assert ring <= dark_modules(drawing.path)


def test_a_text_that_no_code_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="QR Code"):
        qr("x" * 5_000)
