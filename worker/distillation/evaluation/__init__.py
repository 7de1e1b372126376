"""Measures of a trained student: accuracy, calibration, paired statistics."""
