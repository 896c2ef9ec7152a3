"""The intake of letters, wired: what it takes, how it answers, what the links in its mails do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI

from services.letters.actions.record_message import RecordMessage
from services.letters.actions.report_posted import ReportPosted
from services.letters.actions.write_message import WriteMessage
from services.letters.http.messages import messages
from services.letters.http.parts import Parts
from services.letters.http.posted import PAGE as POSTED_PAGE
from services.letters.http.posted import posted
from services.letters.http.sheets import sheets
from services.letters.settings import LettersSettings
from shared import topics
from shared.errors import TransientError
from shared.events.cloudevents import Envelope
from shared.events.letters import MessageConfirmed, MessageWithdrawn
from shared.http.fast_routes import FastRoute
from shared.http.limits import BODY_BYTES
from shared.http.service import add_fast_route, create_app
from shared.intake.links import ActionLinks, EventSpec, LinkActions, link_routes
from shared.intake.pages import IntakePages
from shared.intake.process import IntakeProcess
from shared.intake.submit import SubmitEndpoint
from shared.web.pages import Pages

SOURCE: Final = "/letters/intake"
TAKEN: Final = (topics.MESSAGES,)


def create_intake(settings: LettersSettings) -> FastAPI:
    """The application of an intake process."""
    intake = LettersIntake(settings)
    app = create_app(
        service="letters",
        title="Milleplumes: letters and other messages",
        settings=settings,
        lifespan=intake.lifespan,
        routers=intake.routers(),
        readiness=intake.process.missing,
    )
    app.router.routes.extend(intake.pages.routes)
    return app


class LettersIntake:
    """The parts of one intake process."""

    def __init__(self, settings: LettersSettings) -> None:
        self.process = IntakeProcess(settings, "letters", TAKEN, topics.LETTERS_PROBES)
        self.pages = Pages(service="letters", origins=settings, folder=Path(__file__).parent)
        self._settings = settings
        self._form = IntakePages(
            self.pages,
            self.process.catalog,
            self.process.broker_time.now,
            "write.html",
            f"{settings.marathon_url}/cases/%s/write",
        )
        self._posted_form = IntakePages(
            self.pages,
            self.process.catalog,
            self.process.broker_time.now,
            "posted.html",
            f"{settings.letters_url}{POSTED_PAGE}/%s",
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
        links = link_routes(self._links, self._form, f"{self._settings.letters_url}/letters")
        return [posted(self.parts), messages(self.parts), sheets(self.parts), links]

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Everything between start and stop of the process."""
        async with self.process.running():
            parts = self._parts = self._assembled()
            self._links.actions = self._deeds()
            add_fast_route(app, FastRoute("/v1/messages", BODY_BYTES, parts.messages.take))
            yield

    def _assembled(self) -> Parts:
        process = self.process
        partitions = process.partitions(topics.MESSAGES)
        recording = RecordMessage(process.catalog, process.terms, process.broker_time, partitions)
        writing, posting = WriteMessage(recording), ReportPosted(recording)
        windows = process.batches[topics.MESSAGES.name]
        return Parts(
            settings=self._settings,
            catalog=process.catalog,
            writing=writing,
            messages=SubmitEndpoint(writing.decide, windows, process.receipts),
            receipts=process.receipts,
            counted=process.receipt_status,
            pages=self._form,
            posting=posting,
            posted=SubmitEndpoint(posting.decide, windows, process.receipts),
            posted_pages=self._posted_form,
            now=process.broker_time.now,
        )

    def _deeds(self) -> dict[str, LinkActions]:
        return {
            topics.MESSAGES.name: LinkActions(
                windows=self.process.batches[topics.MESSAGES.name],
                kind="letter",
                confirm=EventSpec(MessageConfirmed, Envelope("message-confirmed", source=SOURCE)),
                withdraw=EventSpec(MessageWithdrawn, Envelope("message-withdrawn", source=SOURCE)),
            )
        }
