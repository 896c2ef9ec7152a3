"""HTTP for every service: the application's frame, its errors, its server, and the hot route inside the protocol."""
