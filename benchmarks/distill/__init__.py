"""Does distillation across label sets help? Real tasks, label overlaps, label counts, controls."""
