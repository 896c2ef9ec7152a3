"""The shared parts of the intakes of petitions and letters: request decoding, person fields, keys, receipts."""
