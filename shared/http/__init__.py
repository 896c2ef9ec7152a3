"""HTTP for every service: the application factory, its errors, its server, and fast routes inside the protocol."""
