"""Styles and scripts at addresses with a hash of their content, which browsers cache for ever."""

from __future__ import annotations

import gzip
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SHARED: Final = Path(__file__).parent / "static"
BUILT: Final = SHARED / "built"
"""The scripts that `make setup` builds from TypeScript; pages work without them."""
BUNDLES: Final = {
    "page.css": ("tokens.css", "base.css", "public.css"),
    "board.css": ("board.css",),
    "letter.css": ("letter.css",),
}
"""Style sheets as served: one for every page, one more for the board, one for sheets to print."""
IMMUTABLE_CACHE_CONTROL: Final = "public, max-age=31536000, immutable"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    gzipped: bytes
    media_type: str


class StaticFiles:
    """The static files of one service, held in memory.

    `address("page.css")` is `/static/<service>/page.<hash>.css`; `routes` serves exactly these addresses. `folder`
    has further files of the service itself, if there is one.
    """

    def __init__(self, service: str, folder: Path) -> None:
        self._prefix = f"/static/{service}"
        self._addresses: dict[str, str] = {}
        self._files: dict[str, _File] = {}
        for name, parts in BUNDLES.items():
            self._add(name, b"\n".join((SHARED / part).read_bytes() for part in parts))
        self._add("icon.svg", (SHARED / "icon.svg").read_bytes())
        for path in (*sorted(BUILT.glob("*")), *sorted(folder.glob("*"))):
            if path.suffix in _TYPES:
                self._add(path.name, path.read_bytes())

    def _add(self, name: str, content: bytes) -> None:
        stem, suffix = name.rsplit(".", 1)
        content_hash = urlsafe_b64encode(sha256(content).digest()[:9]).decode()
        hashed_name = f"{stem}.{content_hash}.{suffix}"
        self._addresses[name] = f"{self._prefix}/{hashed_name}"
        self._files[hashed_name] = _File(content, gzip.compress(content, 9, mtime=0), _TYPES[f".{suffix}"])

    def address(self, name: str) -> str:
        """Return the address of a file.

        Raises:
            KeyError: no such file exists.
        """
        return self._addresses[name]

    def __contains__(self, name: str) -> bool:
        return name in self._addresses

    @property
    def routes(self) -> list[Route]:
        """The routes that serve the files."""
        return [Route(f"{self._prefix}/{{name}}", self._serve, methods=["GET"], include_in_schema=False)]

    async def _serve(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None:
            return Response(status_code=404, headers={"Cache-Control": "no-store"})
        headers = {
            "Cache-Control": IMMUTABLE_CACHE_CONTROL,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if accepts_gzip(request):
            return Response(file.gzipped, media_type=file.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(file.content, media_type=file.media_type, headers=headers)


def accepts_gzip(request: Request) -> bool:
    """Whether the client accepts gzip."""
    codings = request.headers.get("accept-encoding", "").lower().split(",")
    return any(coding.strip() in {"gzip", "gzip;q=1.0"} for coding in codings)
