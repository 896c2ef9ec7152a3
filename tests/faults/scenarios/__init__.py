"""Every scenario, by theme; importing this puts them on the list."""

from tests.faults.registry import SCENARIOS
from tests.faults.scenarios import brokers, clocks, databases, mail, network, processes, records

__all__ = ["SCENARIOS", "brokers", "clocks", "databases", "mail", "network", "processes", "records"]
