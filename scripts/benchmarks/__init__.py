"""What prep costs and what its output does, measured on real parts; run one as `python -m scripts.benchmarks.NAME`."""
