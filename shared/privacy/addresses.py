"""Which e-mail addresses are the same mailbox. Versioned data: a campaign keeps the version it began with."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import idna

DOMAIN_CACHE_SIZE: Final = 16_384


@dataclass(frozen=True, slots=True)
class MailboxRule:
    """How a provider reads the local part: the characters that it ignores, and the canonical domain of the mailbox."""

    domain: str
    ignored: str


def _rules(*entries: tuple[tuple[str, ...], str]) -> dict[str, MailboxRule]:
    return {domain: MailboxRule(domains[0], ignored) for domains, ignored in entries for domain in domains}


RULES: Final[dict[str, dict[str, MailboxRule]]] = {
    # Source: each provider's own help pages, read in November 2026. At all of them the text after a plus is an alias.
    # Domains that share a mailbox are in one entry, the canonical one first, then the characters that do not count.
    "2026-11": _rules(
        (("gmail.com", "googlemail.com"), "."),
        (("outlook.com",), ""),
        (("hotmail.com",), ""),
        (("live.com",), ""),
        (("icloud.com", "me.com", "mac.com"), ""),
        (("fastmail.com",), ""),
        (("proton.me", "protonmail.com", "pm.me"), "._-"),
        (("yandex.ru", "yandex.com", "ya.ru", "yandex.by", "yandex.kz"), ""),
        (("mailbox.org",), ""),
        (("posteo.de", "posteo.net"), ""),
        (("pobox.com",), ""),
    )
}
"""Mailbox rules by version, then by domain."""


@lru_cache(maxsize=DOMAIN_CACHE_SIZE)
def canonical_domain(domain: str) -> str:
    """Return `domain` in lower-case A-labels, as the DNS has it (IDNA 2008 with the UTS 46 mapping).

    Raises:
        ValueError: not a domain name.
    """
    if domain.isascii() and "xn--" not in domain.lower():
        return domain.lower().rstrip(".")
    try:
        return idna.encode(domain.rstrip("."), uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        raise ValueError("not a domain name") from None


@lru_cache(maxsize=DOMAIN_CACHE_SIZE)
def _mailbox_domain(domain: str, version: str) -> tuple[str, MailboxRule | None]:
    canonical = canonical_domain(domain)
    rule = RULES[version].get(canonical)
    return (rule.domain if rule else canonical), rule


def canonical_address(address: str, version: str) -> str:
    """Return the canonical spelling of all addresses of the same mailbox, under the rules of `version`.

    NFKC, case-folded, domain in A-labels, then the provider's rules. It serves to recognise a person, never to send
    mail.

    Raises:
        ValueError: not an address, or its domain is not a domain name.
        KeyError: unknown version.
    """
    if not address.isascii():
        address = unicodedata.normalize("NFKC", address)
    local, at, domain = address.strip().casefold().rpartition("@")
    if not at or not local:
        raise ValueError("not an e-mail address")
    mailbox_domain, rule = _mailbox_domain(domain, version)
    if rule is None:
        return f"{local}@{mailbox_domain}"
    local = local.partition("+")[0] or local
    for ignored in rule.ignored:
        local = local.replace(ignored, "") or local
    return f"{local}@{mailbox_domain}"
