"""The wiring of the intake of letters: its routes, its endpoints, and the links in its mails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI

from services.letters.actions.record_message import RecordMessage
from services.letters.actions.report_posted import ReportPosted
from services.letters.actions.write_message import WriteMessage
from services.letters.consumers import COUNTED
from services.letters.http.context import IntakeContext
from services.letters.http.messages import message_routes
from services.letters.http.posted import PAGE_PATH as POSTED_PAGE
from services.letters.http.posted import posted_routes
from services.letters.http.sheets import sheet_routes
from services.letters.settings import LettersSettings
from shared import topics
from shared.errors import TransientError
from shared.events.cloudevents import Envelope
from shared.events.letters import MessageConfirmed, MessageWithdrawn
from shared.http.fast_routes import FastRoute
from shared.http.limits import MAX_BODY_BYTES
from shared.http.service import add_fast_route, create_app
from shared.intake.links import ActionLinks, EventSpec, LinkActions, link_routes
from shared.intake.pages import IntakePages
from shared.intake.process import IntakeProcess
from shared.intake.submit import SubmitEndpoint
from shared.web.pages import Pages

SOURCE: Final = "/letters/intake"
INTAKE_TOPICS: Final = {counted.topic: counted.group for counted in COUNTED}


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
        self.process = IntakeProcess(settings, "letters", INTAKE_TOPICS, topics.LETTERS_PROBES)
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
        links = link_routes(self._links, self._form, f"{self._settings.letters_url}/letters")
        return [posted_routes(self.context), message_routes(self.context), sheet_routes(self.context), links]

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Run the process from start to stop."""
        async with self.process.running():
            context = self._context = self._build_context()
            self._links.actions = self._build_link_actions()
            add_fast_route(app, FastRoute("/v1/messages", MAX_BODY_BYTES, context.messages_endpoint.try_submit))
            yield

    def _build_context(self) -> IntakeContext:
        process = self.process
        partition_count = process.partition_count(topics.MESSAGES)
        record_message = RecordMessage(process.catalog, process.terms, process.broker_time, partition_count)
        write_message, report_posted = WriteMessage(record_message), ReportPosted(record_message)
        batches = process.batches[topics.MESSAGES.name]
        return IntakeContext(
            settings=self._settings,
            catalog=process.catalog,
            write_message=write_message,
            messages_endpoint=SubmitEndpoint(write_message.build_from_json, batches, process.receipts),
            receipts=process.receipts,
            receipt_status=process.receipt_status,
            pages=self._form,
            report_posted=report_posted,
            posted_endpoint=SubmitEndpoint(report_posted.build_from_json, batches, process.receipts),
            posted_pages=self._posted_form,
            now=process.broker_time.now,
        )

    def _build_link_actions(self) -> dict[str, LinkActions]:
        return {
            topics.MESSAGES.name: LinkActions(
                batches=self.process.batches[topics.MESSAGES.name],
                kind="letter",
                confirm=EventSpec(MessageConfirmed, Envelope("message-confirmed", source=SOURCE)),
                withdraw=EventSpec(MessageWithdrawn, Envelope("message-withdrawn", source=SOURCE)),
            )
        }
