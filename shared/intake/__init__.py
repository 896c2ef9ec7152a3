"""What the intakes of petitions and letters have in common: reading requests, fields of a person, keys, statuses."""
