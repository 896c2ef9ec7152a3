"""Settings of notifications, from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from shared.settings import ServiceSettings

DOMAIN: Final = r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"
EXAMPLE_SENDER: Final = "letters@milleplumes.example"


class Settings(ServiceSettings):
    """The settings of a notifications process beside those of every service.

    `wrapping_private_key_file` opens the campaigns' keys. `recipient_key_file` holds the secret (64 hexadecimal digits)
    under which addresses are hashed; without it the list of unsubscribed addresses is lost.

    Mail leaves from `mail_from` through the relay at `smtp_host`, with at most `smtp_connections` connections.
    `smtp_tls` is `tls` from the first byte, `starttls` (required), `auto` (where the relay offers it) or `off`.
    `mail_from_name` stands beside the address where a campaign names no organisation; `mail_imprint` is the postal line
    at the foot of mails of campaigns that give no postal address.

    Where `dkim_key_file` names an RSA key (PEM), mails are signed with it for `dkim_domain`, by default that of
    `mail_from`, under `dkim_selector`. Otherwise DKIM is the relay's business.

    `mailbox_folder` is where a local mailbox stores what it caught; it is shown under `/mailbox` in development only.
    """

    port: int = 8103
    wrapping_private_key_file: Path
    recipient_key_file: Path
    smtp_host: str = "127.0.0.1"
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 1025
    smtp_tls: Literal["auto", "starttls", "tls", "off"] = "auto"
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_connections: Annotated[int, Field(ge=1, le=100)] = 8
    mail_from: Annotated[str, Field(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+$")] = EXAMPLE_SENDER
    mail_from_name: str = "Milleplumes"
    mail_imprint: str = ""
    dkim_key_file: Path | None = None
    dkim_selector: Annotated[str, Field(pattern=DOMAIN)] = "mille"
    dkim_domain: Annotated[str, Field(pattern=DOMAIN)] | None = None
    mailbox_folder: Path | None = None

    @model_validator(mode="after")
    def _has_a_sender(self) -> Self:
        if self.production and self.mail_from == EXAMPLE_SENDER:
            raise ValueError("set MAIL_FROM to the address that mail leaves from")
        return self

    @model_validator(mode="after")
    def _signs_for_its_sender(self) -> Self:
        signed = self.dkim_domain
        if signed is not None and self.mail_domain != signed and not self.mail_domain.endswith(f".{signed}"):
            raise ValueError("DKIM_DOMAIN must be the domain of MAIL_FROM, or one above it")
        return self

    @property
    def mail_domain(self) -> str:
        """The domain that mail leaves from, and that Message-IDs end in."""
        return self.mail_from.rpartition("@")[2]
