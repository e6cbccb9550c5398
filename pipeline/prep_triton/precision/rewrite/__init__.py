"""What every rewrite of an FP32 graph shares: where it starts, which graphs it takes, and weights on their way."""
