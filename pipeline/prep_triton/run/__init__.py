"""The chain of stages, what is told about it, and what this machine can do of it."""
