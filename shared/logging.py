"""Logs: one JSON object a line in production, readable lines on a terminal. Never personal data."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import stamina.instrumentation
import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def configure(service: str, role: str, log_format: Literal["json", "console"]) -> None:
    """Write every log line of this process, including those of libraries, to standard output in `log_format`."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer()
    )
    common: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_exception_text,
        structlog.processors.EventRenamer("message"),
    ]
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_keep_first_line, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.access").disabled = True
    stamina.instrumentation.set_on_retry_hooks([_log_retry])
    structlog.contextvars.bind_contextvars(service=service, role=role)


def _log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    """Log one line. stamina's own line would hold the arguments of the call: an address with its password, a person."""
    log.warning(
        "trying again",
        what=details.name,
        attempt=details.retry_num,
        failure=type(details.caused_by).__name__,
        wait_s=round(details.wait_for, 2),
    )


def _keep_first_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the first line of a library's message: the event loop puts the text of exceptions on the lines below."""
    event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _drop_exception_text(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep an exception's type and stack frames, drop its text: a driver may quote the row that it refused."""
    info = event.pop("exc_info", None)
    if not info:
        return event
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else sys.exc_info()[1]
    frames = []
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    event["failure"] = {"type": type(error).__qualname__, "at": frames[-12:]}
    return event
