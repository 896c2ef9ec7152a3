"""DKIM signatures (RFC 6376): by them who receives a mail knows that our domain stands for it as it arrived.

rsa-sha256, header and body in relaxed canonical form (RFC 6376, 3.4.2 and 3.4.4), which relays that wrap lines anew
leave whole. Written here because the library for it has no wheel and signs twenty times slower (docs/decisions/0017).
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from shared.errors import SetupError

LEAST_BITS: Final = 2048
"""RFC 8301, 3.2: signers should use at least so many."""
SIGNED: Final = (
    b"from", b"to", b"subject", b"date", b"message-id", b"list-unsubscribe", b"list-unsubscribe-post",
    b"auto-submitted", b"content-language", b"mime-version", b"content-type",
)  # fmt: skip
"""RFC 8058, 4: one-click unsubscription needs both of its headers covered."""
TWICE: Final = (b"from", b"to", b"subject")
"""Named once more than they occur, so that nobody adds another; RFC 6376, 8.15."""
CRLF: Final = b"\r\n"
FOLD: Final = 72

_BLANKS: Final = re.compile(rb"[ \t]+")
_FOLDED: Final = re.compile(rb"\r\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs mails of `domain` under the key that DNS shows at `<selector>._domainkey.<domain>`."""

    key: rsa.RSAPrivateKey
    selector: str
    domain: str

    @classmethod
    def of(cls, key_file: Path, selector: str, domain: str) -> Signer:
        """A signer with the private key (PEM) in `key_file`.

        Raises:
            SetupError: there is no such file, or no RSA key of at least 2,048 bits in it.
        """
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        except OSError as error:
            raise SetupError(f"cannot read {key_file}: {error.strerror}") from None
        except (ValueError, TypeError):
            raise SetupError(f"{key_file} is no private key in PEM: set DKIM_KEY_FILE") from None
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < LEAST_BITS:
            raise SetupError(f"{key_file} must hold an RSA key of at least {LEAST_BITS} bits: set DKIM_KEY_FILE")
        return cls(key, selector, domain)

    @property
    def name(self) -> str:
        """Where DNS has to show the key."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """The TXT record that DNS has to show there; RFC 6376, 3.6.1."""
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"v=DKIM1; k=rsa; p={b64encode(public).decode()}"

    def sign(self, message: bytes, now: float) -> bytes:
        """`message` with a signature as of `now` (seconds since 1970) before its first header."""
        head, _, body = message.partition(CRLF * 2)
        fields = _fields(head)
        names = [name for name in SIGNED if name in fields]
        tags = (
            ("v", b"1"),
            ("a", b"rsa-sha256"),
            ("c", b"relaxed/relaxed"),
            ("d", self.domain.encode("ascii")),
            ("s", self.selector.encode("ascii")),
            ("t", b"%d" % int(now)),
            ("h", b":".join([*names, *(name for name in TWICE if name in names)])),
            ("bh", b64encode(sha256(_relaxed_body(body)).digest())),
            ("b", b""),
        )
        value = b" " + b"; ".join(tag.encode() + b"=" + content for tag, content in tags)
        covered = CRLF.join([*(_relaxed(name, fields[name]) for name in names), _relaxed(b"dkim-signature", value)])
        signature = b64encode(self.key.sign(covered, padding.PKCS1v15(), hashes.SHA256()))
        return b"DKIM-Signature:" + _folded(value) + _in_lines(signature) + CRLF + message


def _fields(head: bytes) -> dict[bytes, bytes]:
    """The value of each header, by its name in small letters; no header that we write occurs twice."""
    pairs = (line.partition(b":") for line in _FOLDED.sub(b"", head).split(CRLF))
    return {name.strip().lower(): value for name, _, value in pairs}


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name + b":" + _BLANKS.sub(b" ", value).strip(b" \t")


def _relaxed_body(body: bytes) -> bytes:
    lines = [_BLANKS.sub(b" ", line).rstrip(b" ") for line in body.split(CRLF)]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + CRLF for line in lines)


def _folded(value: bytes) -> bytes:
    """The tags on lines of their own; a line's end counts as the blank that it replaces."""
    return value.replace(b"; ", b";" + CRLF + b" ")


def _in_lines(signature: bytes) -> bytes:
    return (CRLF + b" ").join(signature[at : at + FOLD] for at in range(0, len(signature), FOLD))
