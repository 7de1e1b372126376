"""One module a resource: each function builds the call of one route from plain Python values."""
