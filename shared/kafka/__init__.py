"""How services speak with Kafka: produce windows, positioned loops, counting, dead letters."""
