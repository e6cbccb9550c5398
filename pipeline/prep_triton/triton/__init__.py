"""Triton: config.pbtxt, model repositories, and a real server to check them on."""
