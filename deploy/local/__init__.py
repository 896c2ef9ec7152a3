"""A real Kafka and a real PostgreSQL on a bare Linux machine, with no root and no containers, and the services on top.

`platform.py` is the composition root; `processes.py` is the one list of what runs; `supervisor.py` keeps it running.
"""
