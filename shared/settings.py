"""Settings that every service reads from its environment. Each service's settings module extends them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split_commas)]
Origin = Annotated[str, Field(pattern=r"^https?://[^/]+$")]


class KafkaSettings(BaseSettings):
    """The address of Kafka, and whether a single broker flushes each append that a 202 rests on."""

    model_config = SettingsConfigDict(env_prefix="", extra="ignore", frozen=True)

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    kafka_flush: Literal["on", "off"] = "on"


class ServiceSettings(KafkaSettings):
    """Settings of every service process.

    The four `*_url` are the public origins by which browsers and mails reach the services; behind a gateway they are
    equal. `probe_port` is a second port for probes and metrics, where several processes share `port`.
    `trusted_proxies` are the networks whose forwarding headers are believed, `country_header` the header in which such
    a proxy names the client's country. With `dead_letter_limit` a partition halts where too many records cannot be
    read; off, all of them become dead letters.
    """

    environment: Literal["development", "production"] = "production"
    database_url: str
    host: str = "127.0.0.1"
    port: int
    probe_port: int | None = None
    log_format: Literal["json", "console"] = "json"
    marathon_url: Origin = "http://127.0.0.1:8100"
    petitions_url: Origin = "http://127.0.0.1:8101"
    letters_url: Origin = "http://127.0.0.1:8102"
    notifications_url: Origin = "http://127.0.0.1:8103"
    trusted_proxies: Networks = ()
    country_header: str | None = None
    dead_letter_limit: Literal["on", "off"] = "on"

    @property
    def production(self) -> bool:
        return self.environment == "production"
