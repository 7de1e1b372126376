"""The training loop: steps, devices, checkpoints, early stopping, several processes.

Knows losses and students; knows nothing of teachers, jobs or HTTP.
"""
