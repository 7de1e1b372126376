"""Inputs as a model expects them: images, token ids, feature vectors."""
