"""`torch.export` programs: archive and graph are checked as data before torch loads them."""
