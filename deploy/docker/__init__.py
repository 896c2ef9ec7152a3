"""The image of the services, and the gateway in front of them."""
