"""Hands mails to an SMTP relay: leases, connections, attempts and their results."""
