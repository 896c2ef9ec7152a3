"""What notifications does with the events of petitions and letters: one transaction a batch."""
