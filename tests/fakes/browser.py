"""A headless Chromium, driven over its DevTools pipe, that notes what a page asks for and complains of."""

import base64
import json
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A user namespace of its own is not to be had in a container, nor as root; pages here are the tests' own.
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")


def find_browser() -> str | None:
    """Return a Chromium of this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """A tab. `requests` are the URLs that its page asked for, `complaints` its errors and warnings of any kind."""

    def __init__(self, read: BinaryIO, write: BinaryIO) -> None:
        self.read, self.write = read, write
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.buffer = b""
        self.number = 0
        self.session = ""
        self.is_loaded = False
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol, and return its result; events that come meanwhile are noted."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.write.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, path: Path, *, width: int, height: int = 900, scheme: str = "light") -> None:
        """Show a page in a window of a size and a colour scheme, and wait until it is loaded."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.requests.clear()
        self.complaints.clear()
        self.is_loaded = False
        self.send("Page.navigate", url=path.absolute().as_uri())
        while not self.is_loaded:
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")  # undefined has none

    def screenshot(self) -> bytes:
        """Return the whole page as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def print(self) -> bytes:
        """Return the page as PDF."""
        return base64.b64decode(self.send("Page.printToPDF")["data"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            data = self.read.read(65536)
            assert data, "the browser ended"
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        event: dict[str, Any] = json.loads(message)
        self._note(event.get("method", ""), event.get("params", {}))
        return event

    def _note(self, method: str, event: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(event["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(event["exceptionDetails"]["text"])
            case "Runtime.consoleAPICalled":
                self.complaints.append(f"console.{event['type']}: {event['args']}")
            case "Log.entryAdded":
                self.complaints.append(event["entry"]["text"])
            case "Page.loadEventFired":
                self.is_loaded = True


@contextmanager
def open_browser(executable: str) -> Iterator[Tab]:
    """Start a browser with a profile of its own, and end it with the block."""
    ours, theirs = os.pipe(), os.pipe()  # it reads from descriptor 3 and writes to 4
    command = ["bash", "-c", f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "bash", executable, *ARGUMENTS]
    with tempfile.TemporaryDirectory(prefix="prep-browser-", ignore_cleanup_errors=True) as profile:
        started = subprocess.Popen(
            [*command, "--remote-debugging-pipe", f"--user-data-dir={profile}"],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        with os.fdopen(theirs[0], "rb", buffering=0) as read, os.fdopen(ours[1], "wb", buffering=0) as write:
            try:
                tab = Tab(read, write)
                yield tab
                tab.session = ""
                with suppress(AssertionError, OSError):  # it may be gone before it answers
                    tab.send("Browser.close")
                started.wait(timeout=10)
            finally:
                started.kill()
                started.wait()


def measure_ink(png: bytes) -> float:
    """Return the share (0..1) of a PNG's bytes that its rows' filters do not foresee: about 0 where it is blank."""
    assert png.startswith(b"\x89PNG")
    place, data, width = 8, b"", 0
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        body = png[place + 8 : place + 8 + length]
        width = struct.unpack(">I", body[:4])[0] if kind == b"IHDR" else width
        data += body if kind == b"IDAT" else b""
        place += 12 + length
    rows = zlib.decompress(data)
    return sum(map(bool, rows)) / len(rows)
