"""Partners' API keys."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from shared.events.marathon import AccessChanged
from shared.refusals import Refusal

_SCHEME: Final = "bearer "
_KEY_LENGTH: Final = 200


def partner(authorization: str | None, scope: str, access: Mapping[str, AccessChanged]) -> AccessChanged:
    """Whose key `authorization` (the header's value) holds; `access` is by SHA-256 of the key, in hexadecimal.

    Raises:
        Refusal: 401 without a known key, 403 where the key has not the `scope`.
    """
    scheme, key = (authorization or "")[: len(_SCHEME)], (authorization or "")[len(_SCHEME) :].strip()
    if scheme.lower() != _SCHEME or not key or len(key) > _KEY_LENGTH:
        raise Refusal(401, "key-missing", "Send your API key as `Authorization: Bearer`.")
    known = access.get(hashlib.sha256(key.encode()).hexdigest())
    if known is None or known.revoked:
        raise Refusal(401, "key-unknown", "This API key is not known, or no longer valid.")
    if scope not in known.scopes:
        raise Refusal(403, "scope-missing", f"This API key has not the scope {scope}.")
    return known
