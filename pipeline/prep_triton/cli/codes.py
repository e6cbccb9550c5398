"""Codes of a failed command's document that are not the class of a `PrepError`."""

USAGE_ERROR = "usage_error"
INTERRUPTED = "interrupted"
