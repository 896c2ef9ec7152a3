"""How services speak with Kafka: producer batches, positioned loops, counting, dead letters."""
