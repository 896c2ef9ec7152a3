"""Letters, postcards, drawings and solidarity messages, on their way to the people they are for.

Owns: who wrote what to whom, sealed. Consumes: campaigns, cases, keys and totals from marathon; its own submissions, to
count them. Emits: submissions and what becomes of them (`letters.messages.v1`), tally batches (`letters.tallies.v1`).
"""
