"""Settings of the local platform, read from the environment under the names in the documentation."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.home import Home, home_at

HIGHEST_PORT: Final = 65535
EXTRA_PORTS: Final = 20
"""Each further process of a role listens this many ports above the previous one."""


class LocalSettings(BaseSettings):
    """The settings of `mille run`. A port that is not named, or 0, is its default plus `mille_port_offset`."""

    model_config = SettingsConfigDict(extra="ignore", frozen=False)

    mille_home: str = ""
    mille_port_offset: int = Field(default=0, ge=0, le=HIGHEST_PORT - 9200)

    smtp_port: int = Field(default=1025, ge=0, le=HIGHEST_PORT)
    postgres_port: int = Field(default=5432, ge=0, le=HIGHEST_PORT)
    marathon_port: int = Field(default=8100, ge=0, le=HIGHEST_PORT)
    petitions_port: int = Field(default=8101, ge=0, le=HIGHEST_PORT)
    letters_port: int = Field(default=8102, ge=0, le=HIGHEST_PORT)
    notifications_port: int = Field(default=8103, ge=0, le=HIGHEST_PORT)
    petitions_counter_port: int = Field(default=8111, ge=0, le=HIGHEST_PORT)
    letters_counter_port: int = Field(default=8112, ge=0, le=HIGHEST_PORT)
    kafka_port: int = Field(default=9092, ge=0, le=HIGHEST_PORT)
    kafka_controller_port: int = Field(default=9093, ge=0, le=HIGHEST_PORT)

    kafka_bootstrap_servers: str = ""
    kafka_flush: Literal["on", "off"] = "on"
    database_url: str = ""
    smtp_host: str = ""
    environment: Literal["development", "production"] = "development"

    petitions_intakes: int = Field(default=1, ge=1, le=16)
    petitions_counters: int = Field(default=1, ge=1, le=4)

    @model_validator(mode="after")
    def _fill_ports(self) -> Self:
        for name, default in DEFAULT_PORTS.items():
            if name not in self.model_fields_set or getattr(self, name) == 0:
                setattr(self, name, default + self.mille_port_offset)
        return self

    @property
    def home(self) -> Home:
        return home_at(self.mille_home)

    @property
    def own_kafka(self) -> bool:
        """Whether the broker is ours to start, rather than one that the settings name."""
        return not self.kafka_bootstrap_servers

    @property
    def own_postgres(self) -> bool:
        """Whether the database server is ours to start, rather than one that the settings name."""
        return not self.database_url

    @property
    def own_mailbox(self) -> bool:
        """Whether mail goes to the local mailbox, rather than to a server that the settings name."""
        return not self.smtp_host

    @property
    def bootstrap_servers(self) -> str:
        return self.kafka_bootstrap_servers or f"127.0.0.1:{self.kafka_port}"

    @property
    def flush(self) -> bool:
        return self.kafka_flush == "on"

    @property
    def production(self) -> bool:
        return self.environment == "production"


DEFAULT_PORTS: Final[dict[str, int]] = {
    name: field.default for name, field in LocalSettings.model_fields.items() if name.endswith("_port")
}
