"""The intake of petitions, wired: what it takes, how it answers, what the links in its mails do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI

from services.petitions.actions.record_act import RecordAct
from services.petitions.actions.sign_petition import SignPetition
from services.petitions.http.acts import acts
from services.petitions.http.batches import batches
from services.petitions.http.declarations import declarations
from services.petitions.http.parts import Parts
from services.petitions.http.petitions import petitions
from services.petitions.http.signatures import signatures
from services.petitions.settings import PetitionsSettings
from shared import topics
from shared.errors import TransientError
from shared.events.cloudevents import Envelope
from shared.events.petitions import ActWithdrawn, SignatureConfirmed, SignatureWithdrawn
from shared.http.fast_routes import FastRoute
from shared.http.limits import BODY_BYTES
from shared.http.service import add_fast_route, create_app
from shared.intake.links import ActionLinks, EventSpec, LinkActions, link_routes
from shared.intake.pages import IntakePages
from shared.intake.process import IntakeProcess
from shared.intake.submit import SubmitEndpoint
from shared.web.pages import Pages

SOURCE: Final = "/petitions/intake"
TAKEN: Final = (topics.SIGNATURES, topics.ACTS)


def create_intake(settings: PetitionsSettings) -> FastAPI:
    """The application of an intake process."""
    intake = PetitionsIntake(settings)
    app = create_app(
        service="petitions",
        title="Milleplumes: signatures and other acts",
        settings=settings,
        lifespan=intake.lifespan,
        routers=intake.routers(),
        readiness=intake.process.missing,
    )
    app.router.routes.extend(intake.pages.routes)
    return app


class PetitionsIntake:
    """The parts of one intake process."""

    def __init__(self, settings: PetitionsSettings) -> None:
        self.process = IntakeProcess(settings, "petitions", TAKEN, topics.PETITIONS_PROBES)
        self.pages = Pages(service="petitions", origins=settings, folder=Path(__file__).parent)
        self._settings = settings
        self._form = IntakePages(
            self.pages,
            self.process.catalog,
            self.process.broker_time.now,
            "case.html",
            f"{settings.marathon_url}/cases/%s",
        )
        self._links = ActionLinks(self.process.catalog, self.process.broker_time.now)
        self._parts: Parts | None = None

    def parts(self) -> Parts:
        """What the routes work with.

        Raises:
            TransientError: not started yet.
        """
        if self._parts is None:
            raise TransientError("not started yet")
        return self._parts

    def routers(self) -> list[APIRouter]:
        """The ordinary routes."""
        links = link_routes(self._links, self._form, self._settings.petitions_url)
        parts = self.parts
        return [batches(parts), signatures(parts), acts(parts), petitions(parts), declarations(parts), links]

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Everything between start and stop of the process."""
        async with self.process.running():
            parts = self._parts = self._assembled()
            self._links.actions = self._deeds()
            self.process.catalog.on_change(parts.signing.changed)
            add_fast_route(app, FastRoute("/v1/signatures", BODY_BYTES, parts.signatures.take))
            yield

    def _assembled(self) -> Parts:
        process = self.process
        catalog, broker_time = process.catalog, process.broker_time
        signing = SignPetition(catalog, broker_time, process.partitions(topics.SIGNATURES))
        acting = RecordAct(catalog, process.terms, broker_time, process.partitions(topics.ACTS))
        return Parts(
            settings=self._settings,
            catalog=catalog,
            broker_time=broker_time,
            signing=signing,
            signatures=SubmitEndpoint(signing.decide, process.batches[topics.SIGNATURES.name], process.receipts),
            acting=acting,
            acts=SubmitEndpoint(acting.decide, process.batches[topics.ACTS.name], process.receipts),
            receipts=process.receipts,
            counted=process.receipt_status,
            pool=process.pool,
            pages=self._form,
        )

    def _deeds(self) -> dict[str, LinkActions]:
        windows = self.process.batches
        return {
            topics.SIGNATURES.name: LinkActions(
                windows=windows[topics.SIGNATURES.name],
                kind="signature",
                confirm=EventSpec(SignatureConfirmed, Envelope("signature-confirmed", source=SOURCE)),
                withdraw=EventSpec(SignatureWithdrawn, Envelope("signature-withdrawn", source=SOURCE)),
            ),
            topics.ACTS.name: LinkActions(
                windows=windows[topics.ACTS.name],
                kind="share",
                confirm=None,
                withdraw=EventSpec(ActWithdrawn, Envelope("act-withdrawn", source=SOURCE)),
            ),
        }
