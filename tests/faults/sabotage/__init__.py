"""Services with one of their protections taken out, to show that the checker notices.

`python -m tests.faults.sabotage NAME,... services.petitions --role counter`. For tests only: the services know nothing
of it.
"""
