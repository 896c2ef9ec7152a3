"""petitions' composition root: the application of each role."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from fastapi import FastAPI

from services.petitions.actions.record_act import RecordAct
from services.petitions.actions.sign_petition import SignPetition
from services.petitions.consumers.counted import COUNTED
from services.petitions.domain.requests import ACTS, SIGNATURES
from services.petitions.http.acts import act_routes
from services.petitions.http.batches import batch_routes
from services.petitions.http.declarations import declaration_routes
from services.petitions.http.petitions import petition_routes
from services.petitions.http.signatures import signature_routes
from services.petitions.settings import PetitionsSettings
from shared import topics
from shared.intake.links import link_routes
from shared.intake.pages import FormPages
from shared.intake.process import IntakeProcess
from shared.intake.submit import SubmitEndpoint

Role = Literal["intake", "counter"]

SERVICE: Final = "petitions"


def create(settings: PetitionsSettings, role: Role) -> FastAPI:
    """The application of one process: `intake` takes actions from people, `counter` counts them."""
    if role == "intake":
        return _create_intake(settings)
    from shared.counting.process import create_counter_app

    return create_counter_app(settings, SERVICE, COUNTED)


def _create_intake(settings: PetitionsSettings) -> FastAPI:
    process = IntakeProcess(
        settings,
        SERVICE,
        Path(__file__).parent,
        intake_topics={counted.topic: counted.group for counted in COUNTED},
        probe_topic=topics.PETITIONS_PROBES,
    )
    catalog, broker_time = process.catalog, process.broker_time
    form_pages = FormPages(process, "case.html", f"{settings.marathon_url}/cases/%s")
    sign_petition = SignPetition(catalog, process.terms, broker_time, process.partition_count(topics.SIGNATURES))
    record_act = RecordAct(catalog, process.terms, broker_time, process.partition_count(topics.ACTS))
    batches, receipts = process.batches, process.receipts
    signatures = SubmitEndpoint(topics.SIGNATURES, SIGNATURES, sign_petition.build_record, batches, receipts)
    acts = SubmitEndpoint(topics.ACTS, ACTS, record_act.build_record, batches, receipts)
    return process.create_app(
        "Milleplumes: signatures and other acts",
        [
            batch_routes(catalog, sign_petition, signatures),
            signature_routes(process, signatures, form_pages),
            act_routes(process, acts, form_pages),
            petition_routes(catalog, sign_petition),
            declaration_routes(process, sign_petition),
            link_routes(process, {topics.SIGNATURES: "signature", topics.ACTS: "share"}),
        ],
        fast_routes={"/v1/signatures": signatures},
    )
