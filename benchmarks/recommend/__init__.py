"""How fast a recommendation is, end to end over HTTP, beside what its transport alone costs."""
