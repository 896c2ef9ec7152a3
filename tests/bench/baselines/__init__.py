"""The two programs that most people would write, measured beside ours in the same minutes."""
