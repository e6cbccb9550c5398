"""What a verification runs with: a new version of any of it is a reason to verify again."""

import importlib.metadata
from contextlib import suppress

from prep_triton.triton.server.installation import find_server


def verification_tools() -> dict[str, str]:
    """Return the versions of what a verification on a server of our own runs with; starts nothing."""
    packages = ("prep-triton", "nvidia-pytriton", "onnxruntime", "tokenizers", "tritonclient")
    versions = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    server_path = find_server()
    if server_path is None:
        return versions
    status = server_path.stat()  # its version is known only once it runs; a new one has another size and time
    return {**versions, "tritonserver": f"{server_path} {status.st_size} {status.st_mtime_ns}"}
