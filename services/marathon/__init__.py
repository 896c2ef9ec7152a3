"""marathon: campaigns, cases, totals, the live board.

Owns campaigns, cases, their wrapped keys, partners' API keys, the ledger of tally batches and the totals.
Consumes `petitions.tallies.v1` and `letters.tallies.v1`. Emits `marathon.cases.v1`, `marathon.keys.v1`,
`marathon.access.v1` and `marathon.totals.v1`, all through its outbox.
"""
