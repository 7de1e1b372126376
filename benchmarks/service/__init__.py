"""Cost of the service: compared with a bare route, under many submissions, with many listeners."""
