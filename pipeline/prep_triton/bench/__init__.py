"""Load on a running Triton, and what was measured of it, with intervals, verdicts and conditions."""
