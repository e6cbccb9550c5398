"""The client of a bucket: credentials, who pays, the encryption key, timeouts and retries."""

import base64
import binascii
import logging
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from prep_triton.errors import SpecError

log = logging.getLogger(__name__)

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
USER_PROJECT_VARIABLE = "PREP_GCS_USER_PROJECT"
KMS_KEY_VARIABLE = "PREP_GCS_KMS_KEY"
ENCRYPTION_KEY_VARIABLE = "PREP_GCS_ENCRYPTION_KEY"

# https://cloud.google.com/storage/docs/encryption/customer-managed-keys#key-resource
_KMS_KEY = re.compile(r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+")
_KEY_BYTES = 32  # AES-256: https://cloud.google.com/storage/docs/encryption/customer-supplied-keys
_EMULATOR = "STORAGE_EMULATOR_HOST"


@dataclass(frozen=True)
class Patience:
    """How long a request may take, and how long the library repeats one that failed; all in seconds.

    Attributes:
        connect_s: To connect.
        answer_s: Until the next byte of an answer.
        retry_after_s: Before the first repetition; the library doubles it each time, with jitter.
        retry_for_s: For how long a request is repeated.
        first_retry_for_s: Likewise for the first request of a command, which shows what is wrong with the access.
    """

    connect_s: float = 10.0
    answer_s: float = 60.0
    retry_after_s: float = 1.0
    retry_for_s: float = 120.0
    first_retry_for_s: float = 10.0

    def request_arguments(self, *, is_first: bool = False) -> dict[str, Any]:
        """Return the arguments of a request of google-cloud-storage; which failures are repeated is its own rule."""
        from google.cloud.storage.retry import DEFAULT_RETRY

        retry_for_s = self.first_retry_for_s if is_first else self.retry_for_s
        retry = DEFAULT_RETRY.with_delay(self.retry_after_s).with_timeout(retry_for_s)
        return {"timeout": (self.connect_s, self.answer_s), "retry": retry}


@dataclass(frozen=True)
class GcsOptions:
    """What a bucket may require; `encryption_key` is a secret and is in no message and no repr."""

    user_project: str | None = None
    kms_key: str | None = None
    encryption_key: bytes | None = field(default=None, repr=False)


def load_gcs_options() -> GcsOptions:
    """Read the options from the environment.

    ``PREP_GCS_USER_PROJECT`` pays for a requester-pays bucket; ``PREP_GCS_KMS_KEY`` names a Cloud KMS key
    (``projects/…/cryptoKeys/…``) for what is written; ``PREP_GCS_ENCRYPTION_KEY`` is a customer-supplied key, the
    base64 of its 32 bytes.

    Raises:
        SpecError: A key is not one, or both are set.
    """
    kms_key, encoded = os.environ.get(KMS_KEY_VARIABLE) or None, os.environ.get(ENCRYPTION_KEY_VARIABLE) or None
    if kms_key and encoded:
        raise SpecError(f"{KMS_KEY_VARIABLE} and {ENCRYPTION_KEY_VARIABLE} are both set", hint="unset one of them")
    if kms_key and not _KMS_KEY.fullmatch(kms_key):
        raise SpecError(
            f"{KMS_KEY_VARIABLE} is not the name of a Cloud KMS key: '{kms_key}'",
            hint="projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
        )
    key = _key_from_base64(encoded) if encoded else None
    user_project = os.environ.get(USER_PROJECT_VARIABLE) or None
    if user_project:
        # core, src/filesystem/implementations/gcs.h: its client names no user project.
        log.warning(
            "%s is set: Triton itself cannot read a requester-pays bucket from gs://, use prep fetch",
            USER_PROJECT_VARIABLE,
        )
    return GcsOptions(user_project, kms_key, key)


def _key_from_base64(encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        # Neither the value nor its length: it is a secret. And not "from": the cause would show it.
        raise SpecError(
            f"{ENCRYPTION_KEY_VARIABLE} is not the base64 of {_KEY_BYTES} bytes",
            hint="make one: openssl rand -base64 32",
        ) from None
    log.warning("objects under a customer-supplied key cannot be loaded by Triton from gs://: use prep fetch")
    return key


class GcsSession:
    """A client and a bucket, made when they are first used.

    Args:
        bucket: The bucket's name.
        emulator_url: The emulator to use; the one that ``STORAGE_EMULATOR_HOST`` names where None.
        patience: How long requests may take.
    """

    def __init__(self, bucket: str, *, emulator_url: str | None = None, patience: Patience | None = None) -> None:
        self.bucket_name = bucket
        self.patience = patience or Patience()
        self._emulator_url = emulator_url

    @cached_property
    def options(self) -> GcsOptions:
        """What the bucket requires; see `load_gcs_options`."""
        return load_gcs_options()

    @property
    def is_emulated(self) -> bool:
        """True where requests go to an emulator."""
        return bool(self._emulator_url or os.environ.get(_EMULATOR))

    @cached_property
    def bucket(self) -> Any:
        """The bucket; no request is sent."""
        user_project = self.options.user_project  # read first: a wrong key is refused before anything is connected
        return self.client.bucket(self.bucket_name, user_project=user_project)

    def blob(self, name: str, **options: Any) -> Any:
        """Name an object, under the key of the options."""
        return self.bucket.blob(
            name, encryption_key=self.options.encryption_key, kms_key_name=self.options.kms_key, **options
        )

    @cached_property
    def client(self) -> Any:
        """A client with Application Default Credentials; without any for an emulator."""
        # One look for the metadata server (3 s), not three with pauses between: on Google's machines the
        # library also knows it by the BIOS. Read when google.auth is imported.
        os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
        # WAR(google-cloud-storage 3.17): for traces that nobody collects it reads the bucket's metadata in a
        # background thread, which needs storage.buckets.get and is refused to an account that may only publish.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        emulator = self._emulator_url or os.environ.get(_EMULATOR)
        if not emulator:
            credentials, _ = google.auth.default(scopes=SCOPES)
            return storage.Client(project=None, credentials=credentials)
        address = urlsplit(emulator)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise SpecError(f"{_EMULATOR} is not a URL", hint=f"export {_EMULATOR}=http://127.0.0.1:PORT, or unset it")
        log.info("%s: gs:// means the emulator on %s, without credentials", _EMULATOR, address.hostname)
        options = {"api_endpoint": emulator}
        return storage.Client(project=None, credentials=AnonymousCredentials(), client_options=options)
