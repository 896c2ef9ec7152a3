"""SQL, each constant beside the one function that runs it. Functions take a connection, never a pool."""
