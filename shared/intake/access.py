"""Partners' API keys."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from shared.events.marathon import AccessChanged
from shared.refusals import Refusal

_MAX_KEY_LENGTH: Final = 200


def authenticate_partner(
    authorization: str | None, scope: str, access_by_hash: Mapping[str, AccessChanged]
) -> AccessChanged:
    """Return the access that the API key in `authorization` (the header's value) grants.

    `access_by_hash` is keyed by the SHA-256 of the API key, in hexadecimal.

    Raises:
        Refusal: 401 without a known key, 403 where the key lacks the `scope`.
    """
    scheme, _, key = (authorization or "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key or len(key) > _MAX_KEY_LENGTH:
        raise Refusal(401, "key-missing", "Send your API key as `Authorization: Bearer`.")
    granted = access_by_hash.get(hashlib.sha256(key.encode()).hexdigest())
    if granted is None or granted.revoked:
        raise Refusal(401, "key-unknown", "This API key is not known, or no longer valid.")
    if scope not in granted.scopes:
        raise Refusal(403, "scope-missing", f"This API key has not the scope {scope}.")
    return granted
