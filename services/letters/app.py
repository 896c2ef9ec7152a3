"""letters' composition root: the application of each role."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from fastapi import FastAPI

from services.letters.actions.record_message import RecordMessage
from services.letters.consumers.counted import COUNTED
from services.letters.domain.requests import MESSAGES, POSTED
from services.letters.http.messages import MESSAGES_PATH, message_routes
from services.letters.http.posted import PAGE_PATH, posted_routes
from services.letters.http.sheets import sheet_routes
from services.letters.settings import LettersSettings
from shared import topics
from shared.intake.links import link_routes
from shared.intake.pages import FormPages
from shared.intake.process import IntakeProcess
from shared.intake.submit import SubmitEndpoint

Role = Literal["intake", "counter"]

SERVICE: Final = "letters"


def create(settings: LettersSettings, role: Role) -> FastAPI:
    """The application of one process: `intake` takes messages from people, `counter` counts them."""
    if role == "intake":
        return _create_intake(settings)
    from shared.counting.process import create_counter_app

    return create_counter_app(settings, SERVICE, COUNTED)


def _create_intake(settings: LettersSettings) -> FastAPI:
    process = IntakeProcess(
        settings,
        SERVICE,
        Path(__file__).parent,
        intake_topics={counted.topic: counted.group for counted in COUNTED},
        probe_topic=topics.LETTERS_PROBES,
    )
    form_pages = FormPages(process, "write.html", f"{settings.marathon_url}/cases/%s/write")
    posted_form_pages = FormPages(process, "posted.html", f"{process.base_url}{PAGE_PATH}/%s")
    record_message = RecordMessage(
        process.catalog, process.terms, process.broker_time, process.partition_count(topics.MESSAGES)
    )
    batches, receipts = process.batches, process.receipts
    messages = SubmitEndpoint(topics.MESSAGES, MESSAGES, record_message.build_written, batches, receipts)
    posted = SubmitEndpoint(topics.MESSAGES, POSTED, record_message.build_posted, batches, receipts)
    return process.create_app(
        "Milleplumes: letters and other messages",
        [
            posted_routes(process, posted, posted_form_pages),
            message_routes(process, messages, form_pages),
            sheet_routes(process),
            link_routes(process, {topics.MESSAGES: "letter"}, "/letters"),
        ],
        fast_routes={MESSAGES_PATH: messages},
    )
