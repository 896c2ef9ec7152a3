"""The epoch in which a restored database continues."""

from __future__ import annotations

from deploy.recovery.restored_databases import RestoredPartition, next_epoch


def partition(number: int, *, epoch: int, highest_epoch: int) -> RestoredPartition:
    return RestoredPartition(
        "s", number, next=50, epoch=epoch, highest_epoch=highest_epoch, known_up_to=120, change=70, fits=True
    )


def test_a_first_restore_begins_the_first_epoch_after_that_of_the_backup() -> None:
    assert next_epoch([partition(0, epoch=0, highest_epoch=0), partition(1, epoch=0, highest_epoch=0)]) == 1


def test_a_second_restore_from_one_backup_begins_an_epoch_after_that_of_the_first() -> None:
    assert next_epoch([partition(0, epoch=0, highest_epoch=0), partition(1, epoch=0, highest_epoch=1)]) == 2


def test_a_backup_that_is_younger_than_what_was_heard_of_it_goes_by_its_own() -> None:
    assert next_epoch([partition(0, epoch=3, highest_epoch=1)]) == 4
