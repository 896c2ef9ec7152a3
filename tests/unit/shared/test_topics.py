"""The declaration of topics."""

from __future__ import annotations

import pytest

from shared import topics


def test_a_topic_may_have_more_partitions_in_production() -> None:
    assert topics.SIGNATURES.partition_count(production=True) == 48
    assert topics.SIGNATURES.partition_count(production=False) == 4


def test_who_passes_over_the_environment_may_do_so_only_where_it_makes_no_difference() -> None:
    assert topics.DELIVERIES.fixed_partition_count == 1
    with pytest.raises(ValueError, match="another number of partitions in production"):
        _ = topics.SIGNATURES.fixed_partition_count
