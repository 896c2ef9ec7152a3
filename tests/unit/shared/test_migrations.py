from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from deploy.local.databases import SERVICES
from deploy.local.home import PROJECT
from shared import migrations
from shared.errors import SetupError


@pytest.mark.parametrize("service", SERVICES)
def test_the_newest_revision_is_the_one_that_alembic_names(service: str) -> None:
    script = ScriptDirectory.from_config(migrations.config(service))
    assert migrations.head(service) == script.get_current_head()


def test_two_newest_revisions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "SERVICES_FOLDER", tmp_path)
    versions = tmp_path / "petitions" / "migrations" / "versions"
    versions.mkdir(parents=True)
    for revision, down in (("0001", None), ("0002", "0001"), ("0003", "0001")):
        (versions / f"{revision}.py").write_text(f"revision = {revision!r}\ndown_revision = {down!r}\n")
    with pytest.raises(SetupError, match="petitions has 2 newest migrations"):
        migrations.head("petitions")
    (versions / "0003.py").write_text("revision = '0003'\ndown_revision = '0002'\n")
    assert migrations.head("petitions") == "0003"


def test_the_check_at_a_services_start_does_not_load_alembic() -> None:
    code = "import sys, shared.migrations as m; m.head('petitions'); sys.exit('alembic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, timeout=30, check=True)
