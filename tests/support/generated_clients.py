"""Clients that a generator makes from an OpenAPI document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType

PACKAGE: Final = "generated_client"


def generate_client(document: dict[str, Any], folder: Path) -> Path:
    """Return the package of a client in `folder`; fail on whatever the generator has to say about the document."""
    source, package = folder / "openapi.json", folder / PACKAGE
    source.write_text(json.dumps(document))
    config = Config.from_sources(
        ConfigFile(post_hooks=[]),
        MetaType.NONE,
        document_source=source,
        file_encoding="utf-8",
        overwrite=False,
        output_path=package,
    )
    findings = generate(config=config)
    assert [(finding.header, finding.detail) for finding in findings] == []
    return package
