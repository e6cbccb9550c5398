"""Immutable releases of a model repository, on GCS or in a folder."""
