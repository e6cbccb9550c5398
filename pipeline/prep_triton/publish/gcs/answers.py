"""What GCS, its library and the network answer, as our errors."""

import re
from traceback import walk_tb
from typing import Any

from prep_triton.errors import BucketMissingError, PreconditionError, PrepError, StoreAccessError, StoreError
from prep_triton.publish.gcs.session import ENCRYPTION_KEY_VARIABLE, USER_PROJECT_VARIABLE
from prep_triton.publish.store import GcsUri, store_error_from_os

_PERMISSION = re.compile(r"storage\.[a-z]+\.[a-zA-Z]+")
_LIBRARY = ("google.", "requests.", "json.")
_LOGIN = "run 'gcloud auth application-default login', set GOOGLE_APPLICATION_CREDENTIALS, or use workload identity"
_NETWORK = "check the network and the proxy settings, then run again: what is in the store already is not sent twice"


def error_from_vendor(err: Exception, location: GcsUri, permission: str, name: str | None) -> PrepError | None:
    """Translate what google-cloud-storage raised; None where the exception is not its own.

    Args:
        err: What was raised.
        location: The bucket and prefix.
        permission: What the request needs.
        name: The object within `location`, where it was about one.
    """
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    place = f"{location}/{name}" if name else str(location)
    if isinstance(err, api.ClientError):
        return _error_from_answer(err, location, permission, name)
    if isinstance(err, auth.GoogleAuthError) and not isinstance(err, auth.TransportError):
        return StoreAccessError(f"there are no usable credentials for {location}: {_message_of(err)}", hint=_LOGIN)
    if isinstance(err, DataCorruption):
        return StoreError(f"{place} arrived damaged: {_message_of(err)}", hint="run again: every object is checked")
    if isinstance(err, auth.TransportError | requests.RequestException | api.GoogleAPIError | InvalidResponse):
        return StoreError(f"{place} cannot be reached: {_message_of(err)}", hint=_NETWORK)
    return store_error_from_os(err, place) if isinstance(err, OSError) else _error_from_malformed(err, place)


def _error_from_malformed(err: Exception, place: str) -> StoreError | None:
    """Say that an answer is not of GCS's form, which the library takes for an object with certain keys.

    None for an error that was not raised inside the library: a bug of ours.
    """
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(err.__traceback__)]
    if not any(module.startswith(_LIBRARY) for module in modules) or modules[-1].startswith("prep_triton."):
        return None
    return malformed_error(place, f"{type(err).__name__}: {_message_of(err)}")


def malformed_error(place: str, reason: str) -> StoreError:
    """Return the error of an answer that is not of GCS's form."""
    return StoreError(
        f"what answers for {place} does not answer as GCS does: {reason}",
        hint="see what it is: a proxy, a login page, or an emulator of another version",
    )


def precondition_error(place: str) -> PreconditionError:
    """Return the error of a conditional write that met another object."""
    return PreconditionError(
        f"{place} is not at the generation that was expected",
        hint="another run wrote it; look at what is there, then run again",
    )


def _error_from_answer(err: Any, location: GcsUri, permission: str, name: str | None) -> StoreError:
    """Say what a 4xx answer means; https://cloud.google.com/storage/docs/json_api/v1/status-codes."""
    bucket, place = location.bucket, f"{location}/{name}" if name else str(location)
    if err.code == 412:
        return precondition_error(place)
    if err.code == 404:
        return _error_from_absence(err, bucket, permission, place)
    if err.code == 401:
        return StoreAccessError(
            f"GCS did not accept the credentials for gs://{bucket}: {_message_of(err)}", hint=_LOGIN
        )
    if err.code == 403:
        return _error_from_refusal(err, bucket, permission, place)
    return _error_from_bad_request(_message_of(err), bucket, place)


def _error_from_absence(err: Any, bucket: str, permission: str, place: str) -> StoreError:
    if permission == "storage.objects.get" and "bucket does not exist" not in str(err):
        return StoreError(f"there is no object {place}", hint="list what is there with prep releases")
    make = f"gcloud storage buckets create gs://{bucket}"
    return BucketMissingError(f"there is no bucket gs://{bucket}", hint=f"check the name, or make it: {make}")


def _error_from_bad_request(message: str, bucket: str, place: str) -> StoreError:
    if "requester pays" in message.lower():
        hint = f"export {USER_PROJECT_VARIABLE}=the project that pays"
        return StoreAccessError(f"gs://{bucket} is a requester-pays bucket: {message}", hint=hint)
    if "customer-supplied encryption key" in message.lower() or "encrypted with" in message.lower():
        hint = f"export {ENCRYPTION_KEY_VARIABLE}=the base64 of the key it was written with"
        return StoreAccessError(f"{place} needs its customer-supplied key: {message}", hint=hint)
    if "crc32c" in message.lower():
        hint = "publish again while nothing writes to the repository"
        return StoreError(f"{place} did not arrive as it was digested: {message}", hint=hint)
    return StoreError(f"GCS refused the request for {place}: {message}", hint="run again with -v")


def _error_from_refusal(err: Any, bucket: str, permission: str, place: str) -> StoreError:
    message = _message_of(err)
    if "retention" in message.lower() or " hold" in message.lower():
        return StoreError(
            f"{place} is kept by the bucket's retention policy or a hold: {message}",
            hint="wait until it ends; where every object is kept, publish with --no-current and name releases by id",
        )
    named = _PERMISSION.search(str(err))
    roles = "roles/storage.objectAdmin (to publish) or roles/storage.objectViewer (to read)"
    return StoreAccessError(
        f"{named[0] if named else permission} is not allowed on gs://{bucket}: {message}",
        hint=f"grant {roles} on gs://{bucket}; another project may own a bucket of that name",
    )


def _message_of(err: BaseException) -> str:
    """Return the vendor's message, short and on one line: of an error around another, the inner one's."""
    inner = (getattr(err, "cause", None), getattr(err, "reason", None), *err.args[:1])
    for candidate in inner:
        if isinstance(candidate, BaseException):
            return _message_of(candidate)
    words = getattr(err, "message", None) or (
        err.args[0] if len(err.args) > 1 and not isinstance(err, OSError) else err
    )
    return " ".join(str(words).split())[:300]
