"""Several runs at once: locks that are waited for."""

from pathlib import Path

import pytest
from prep_triton.errors import StoreError
from prep_triton.files import hold_lock


def test_a_lock_that_another_run_holds_is_announced_and_waited_for(tmp_path: Path, caplog):
    path = tmp_path / "locks" / "tiny.lock"
    with hold_lock(path, "tiny", timeout_s=1, hint="wait"):
        with (
            pytest.raises(StoreError, match=r"another run has held tiny for over 0\.05 s") as caught,
            hold_lock(path, "tiny", timeout_s=0.05, hint="wait for it", error=StoreError),
        ):
            pass
        assert caught.value.hint == "wait for it"
    assert "another run holds tiny; waiting for it" in caplog.text
    with hold_lock(path, "tiny", timeout_s=0, hint="wait"):
        pass
