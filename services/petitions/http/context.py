"""The context of the routes of petitions."""

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
class IntakeContext:
    """The parts of a running intake that its routes use."""

    settings: PetitionsSettings
    catalog: Catalog
    broker_time: BrokerTime
    sign_petition: SignPetition
    signatures_endpoint: SubmitEndpoint
    record_act: RecordAct
    acts_endpoint: SubmitEndpoint
    receipts: Receipts
    receipt_status: ReceiptStatus
    pool: asyncpg.Pool
    form_pages: IntakePages
