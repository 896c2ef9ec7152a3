"""How the services are set up, started and looked after: command line, local platform, images, dashboards."""
