"""Entries of a Triton model repository: written, loaded, and with text in front."""
