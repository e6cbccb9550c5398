"""All that runs inside Triton. It is copied into model directories and imports nothing of prep."""
