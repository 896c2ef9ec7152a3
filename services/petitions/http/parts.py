"""What the routes of petitions work with."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from services.petitions.actions.record_act import Acting
from services.petitions.actions.sign_petition import Signing
from services.petitions.settings import PetitionsSettings
from shared.catalog import Catalog
from shared.intake.pages import IntakePages
from shared.intake.receipt_status import Counted
from shared.intake.submit import Taking
from shared.kafka.broker_time import BrokerTime
from shared.privacy.receipts import Receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a running intake."""

    settings: PetitionsSettings
    catalog: Catalog
    broker_time: BrokerTime
    signing: Signing
    signatures: Taking
    acting: Acting
    acts: Taking
    receipts: Receipts
    counted: Counted
    pool: asyncpg.Pool
    pages: IntakePages
