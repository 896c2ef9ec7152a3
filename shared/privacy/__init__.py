"""Keys, keyed hashes, sealed personal data, receipts and tokens. Nothing here logs or stores anything."""
