"""Signatures, declarations and other acts for cases.

Owns: who signed what, sealed. Consumes: campaigns, cases, keys and totals from marathon; its own submissions, to count
them. Emits: submissions and what becomes of them (`petitions.signatures.v1`, `petitions.acts.v1`), tally batches
(`petitions.tallies.v1`).
"""
