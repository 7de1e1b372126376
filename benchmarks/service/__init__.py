"""What the service costs: next to a bare route, under many submissions, with many listeners."""
