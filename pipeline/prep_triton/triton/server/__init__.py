"""A real Triton: installed, started, asked, and its statistics."""
