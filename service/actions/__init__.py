"""What the requests do, free of HTTP: one module per resource, called by ``service.routes``."""
