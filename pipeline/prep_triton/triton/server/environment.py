"""What a server of our own is given of this process's environment."""

import os
from pathlib import Path

from prep_triton.triton.server.installation import Installation

# A repository's model.py runs in this environment.
_KEPT_VARIABLES = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD"}
)
_KEPT_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "KMP_", "MKL_", "OPENBLAS_")
# Only for a server that reads gs://: who it is, and the way there.
_STORAGE_VARIABLES = frozenset(
    name for plain in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY") for name in (plain, plain.lower())
) | {
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "CLOUD_STORAGE_EMULATOR_ENDPOINT",
    "STORAGE_EMULATOR_HOST",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
}


def server_environment(installation: Installation, repository: str, folder: Path) -> dict[str, str]:
    """Return the environment of a server: what it needs, and no secret that a repository's model.py could read.

    Python's bytecode goes into the server's own folder: a check leaves nothing in what it checks.
    """
    is_remote = "://" in repository
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES) or (is_remote and name in _STORAGE_VARIABLES)
    }
    bytecode = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    return {**kept, **installation.environment, **bytecode, **_storage_environment(folder)}


def _storage_environment(folder: Path) -> dict[str, str]:
    """Return what the server needs to read gs://: where to copy it to, and the emulator if there is one."""
    downloads = folder / "downloads"
    downloads.mkdir(exist_ok=True)
    variables = {"TRITON_GCS_MOUNT_DIRECTORY": str(downloads)}
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator:
        variables["CLOUD_STORAGE_EMULATOR_ENDPOINT"] = emulator if "://" in emulator else f"http://{emulator}"
    return variables
