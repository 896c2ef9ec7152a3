from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

from deploy.demo.mailbox import Mailbox

RUN = "20261121041503"


def drop(folder: Path, name: str, to: str, message_id: str, text: str = "") -> None:
    message = EmailMessage()
    message["To"] = to
    message["Message-ID"] = message_id
    message["Subject"] = "Подтвердите"
    message.set_content(text or "hello")
    message.add_alternative("<p>hello</p>", subtype="html")
    (folder / f"{name}.eml").write_bytes(bytes(message))


def test_only_messages_of_this_run_count_and_a_repeated_message_id_counts_once(tmp_path: Path) -> None:
    drop(tmp_path, "0", f"signer.0.{RUN}@example.org", "<old@mille>")
    mailbox = Mailbox(tmp_path, RUN)
    drop(tmp_path, "1", f"Ana Diaz <signer.1.{RUN}@example.org>", "<a@mille>")
    drop(tmp_path, "2", f"signer.1.{RUN}@example.org", "<a@mille>")
    drop(tmp_path, "3", f"signer.2.{RUN}@example.net", "<b@mille>")
    drop(tmp_path, "4", "signer.2.20251121041503@example.net", "<c@mille>")
    assert mailbox.scan() == 2
    assert mailbox.scan() == 2
    assert mailbox.by_address[f"signer.1.{RUN}@example.org"] == {"<a@mille>"}


def test_the_link_is_found_whole_however_long_its_line(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path, RUN)
    token = "a" * 300 + ".b-_." + "c" * 20
    drop(
        tmp_path,
        "1",
        f"signer.1.{RUN}@example.org",
        "<a@mille>",
        f"Press\nhttp://127.0.0.1:8101/confirm/{token}\nThanks",
    )
    mailbox.scan()
    link = mailbox.find_link(f"signer.1.{RUN}@example.org", r"http://127\.0\.0\.1:8101/confirm/[\w.-]+")
    assert link == f"http://127.0.0.1:8101/confirm/{token}"
    assert mailbox.find_link(f"signer.9.{RUN}@example.org", "x") is None
