"""What people reach of notifications: what is kept about their address, and how to get no more mail."""
