"""The wiring of the intake of petitions: its routes, its endpoints, and the links in its mails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI

from services.petitions.actions.record_act import RecordAct
from services.petitions.actions.sign_petition import SignPetition
from services.petitions.http.acts import act_routes
from services.petitions.http.batches import batch_routes
from services.petitions.http.context import IntakeContext
from services.petitions.http.declarations import declaration_routes
from services.petitions.http.petitions import petition_routes
from services.petitions.http.signatures import signature_routes
from services.petitions.settings import PetitionsSettings
from shared import topics
from shared.errors import TransientError
from shared.events.cloudevents import Envelope
from shared.events.petitions import ActWithdrawn, SignatureConfirmed, SignatureWithdrawn
from shared.http.fast_routes import FastRoute
from shared.http.limits import MAX_BODY_BYTES
from shared.http.service import add_fast_route, create_app
from shared.intake.links import ActionLinks, EventSpec, LinkActions, link_routes
from shared.intake.pages import IntakePages
from shared.intake.process import IntakeProcess
from shared.intake.submit import SubmitEndpoint
from shared.web.pages import Pages

SOURCE: Final = "/petitions/intake"
INTAKE_TOPICS: Final = (topics.SIGNATURES, topics.ACTS)


def create_intake(settings: PetitionsSettings) -> FastAPI:
    """The application of an intake process."""
    intake = PetitionsIntake(settings)
    return create_app(
        service="petitions",
        title="Milleplumes: signatures and other acts",
        settings=settings,
        lifespan=intake.lifespan,
        routers=intake.routers(),
        readiness=intake.process.missing,
        pages=intake.pages,
    )


class PetitionsIntake:
    """The parts of one intake process."""

    def __init__(self, settings: PetitionsSettings) -> None:
        self.process = IntakeProcess(settings, "petitions", INTAKE_TOPICS, topics.PETITIONS_PROBES)
        self.pages = Pages(service="petitions", origins=settings, folder=Path(__file__).parent)
        self._settings = settings
        self._form_pages = IntakePages(
            self.pages,
            self.process.catalog,
            self.process.broker_time.now,
            "case.html",
            f"{settings.marathon_url}/cases/%s",
        )
        self._links = ActionLinks(self.process.catalog, self.process.broker_time.now)
        self._context: IntakeContext | None = None

    def context(self) -> IntakeContext:
        """Return the context of the routes.

        Raises:
            TransientError: not started yet.
        """
        if self._context is None:
            raise TransientError("not started yet")
        return self._context

    def routers(self) -> list[APIRouter]:
        """Return the ordinary routes."""
        links = link_routes(self._links, self.pages, self._settings.petitions_url)
        context = self.context
        return [
            batch_routes(context),
            signature_routes(context),
            act_routes(context),
            petition_routes(context),
            declaration_routes(context),
            links,
        ]

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Run the process from start to stop."""
        async with self.process.running():
            context = self._context = self._build_context()
            self._links.actions = self._build_link_actions()
            self.process.catalog.on_change(context.sign_petition.on_catalog_change)
            add_fast_route(app, FastRoute("/v1/signatures", MAX_BODY_BYTES, context.signatures_endpoint.try_submit))
            yield

    def _build_context(self) -> IntakeContext:
        process = self.process
        catalog, broker_time = process.catalog, process.broker_time
        sign_petition = SignPetition(catalog, broker_time, process.partition_count(topics.SIGNATURES))
        record_act = RecordAct(catalog, process.terms, broker_time, process.partition_count(topics.ACTS))
        return IntakeContext(
            settings=self._settings,
            catalog=catalog,
            broker_time=broker_time,
            sign_petition=sign_petition,
            signatures_endpoint=SubmitEndpoint(
                sign_petition.build_from_json, process.batches[topics.SIGNATURES.name], process.receipts
            ),
            record_act=record_act,
            acts_endpoint=SubmitEndpoint(
                record_act.build_from_json, process.batches[topics.ACTS.name], process.receipts
            ),
            receipts=process.receipts,
            receipt_status=process.receipt_status,
            pool=process.pool,
            form_pages=self._form_pages,
        )

    def _build_link_actions(self) -> dict[str, LinkActions]:
        batches = self.process.batches
        return {
            topics.SIGNATURES.name: LinkActions(
                batches=batches[topics.SIGNATURES.name],
                kind="signature",
                confirm=EventSpec(SignatureConfirmed, Envelope("signature-confirmed", source=SOURCE)),
                withdraw=EventSpec(SignatureWithdrawn, Envelope("signature-withdrawn", source=SOURCE)),
            ),
            topics.ACTS.name: LinkActions(
                batches=batches[topics.ACTS.name],
                kind="share",
                confirm=None,
                withdraw=EventSpec(ActWithdrawn, Envelope("act-withdrawn", source=SOURCE)),
            ),
        }
