"""notifications: e-mails to participants, preferences, suppression.

Consumes petitions.signatures.v1 and letters.messages.v1, and marathon's campaigns, cases and keys. Emits
notifications.deliveries.v1. Keeps one delivery for each submission that asks for a confirmation, gathers them into
mails, at most three a day to an address, and sends them by SMTP. A keyed hash stands for an address; personal fields
stay sealed.
"""
