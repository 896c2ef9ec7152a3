"""Which epoch a restored database goes on in."""

from __future__ import annotations

from deploy.recovery.restored import Restored, next_epoch


def partition(number: int, *, epoch: int, heard: int) -> Restored:
    return Restored("s", number, next=50, epoch=epoch, heard=heard, known=120, change=70, fits=True)


def test_a_first_restore_begins_the_first_epoch_after_that_of_the_backup() -> None:
    assert next_epoch([partition(0, epoch=0, heard=0), partition(1, epoch=0, heard=0)]) == 1


def test_a_second_restore_from_one_backup_begins_an_epoch_after_that_of_the_first() -> None:
    assert next_epoch([partition(0, epoch=0, heard=0), partition(1, epoch=0, heard=1)]) == 2


def test_a_backup_that_is_younger_than_what_was_heard_of_it_goes_by_its_own() -> None:
    assert next_epoch([partition(0, epoch=3, heard=1)]) == 4
