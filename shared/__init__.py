"""Contracts and plumbing that every service uses. No business rules; imports no service."""
