"""The submitted event that `letters` emits on `letters.messages.v1`."""

from __future__ import annotations

from shared.events.actions import ActionSubmitted


class MessageSubmitted(ActionSubmitted, frozen=True, kw_only=True):
    """Somebody wrote a letter, postcard, drawing or solidarity message; `subject` is the case's slug.

    `person` is the person key (base64url, 16 bytes): it chooses the record's partition, and it limits letters a day to
    `daily_limit`, the campaign's `letters_per_person` at intake. With channel `post` and evidence `self_reported`
    it is a letter or postcard that the person posted themself: its text never came to us.
    """

    person: str
    daily_limit: int
    handwritten: bool = False
