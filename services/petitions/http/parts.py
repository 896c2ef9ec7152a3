"""What the routes of petitions work with."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from services.petitions.actions.record_act import RecordAct
from services.petitions.actions.sign_petition import SignPetition
from services.petitions.settings import PetitionsSettings
from shared.catalog import Catalog
from shared.intake.pages import IntakePages
from shared.intake.receipt_status import ReceiptStatus
from shared.intake.submit import SubmitEndpoint
from shared.kafka.broker_time import BrokerTime
from shared.privacy.receipts import Receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a running intake."""

    settings: PetitionsSettings
    catalog: Catalog
    broker_time: BrokerTime
    signing: SignPetition
    signatures: SubmitEndpoint
    acting: RecordAct
    acts: SubmitEndpoint
    receipts: Receipts
    counted: ReceiptStatus
    pool: asyncpg.Pool
    pages: IntakePages
