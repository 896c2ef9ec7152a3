"""What marathon reads from Kafka: tally batches, and the end offsets of the counted topics."""
