"""A store in a Google Cloud Storage bucket: the only folder that imports google.cloud.

Credentials are Application Default Credentials; `STORAGE_EMULATOR_HOST` names an emulator, and only
then are there none. Nothing here writes, logs or keeps a credential or a key.
"""

from prep_triton.publish.gcs.session import GcsSession, Patience
from prep_triton.publish.gcs.store import GcsStore

__all__ = ["GcsSession", "GcsStore", "Patience"]
