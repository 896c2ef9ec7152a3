"""The image of the services, and the gateway before them."""
