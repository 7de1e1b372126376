"""Speed of recommendations, end to end over HTTP, compared with their transport problems only."""
