"""Class names: registered label sets, a student's labels, and names that are placeholders."""
