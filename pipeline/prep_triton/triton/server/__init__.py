"""A real Triton: installed, started, sent requests, and its statistics."""
