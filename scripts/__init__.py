"""What runs beside the package: benchmarks, checks and a local GCS server."""
