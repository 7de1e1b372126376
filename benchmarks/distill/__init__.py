"""The gain of distillation across label sets: real tasks, label overlaps, label counts, controls."""
