"""A real browser for tests of pages: headless Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
START_SECONDS = 60.0


class Page:
    """A tab.

    Attributes:
        asked: the addresses that it has asked for.
        complaints: what it has written to its console as errors, and errors of its scripts.
    """

    def __init__(self, socket: Connection) -> None:
        self._socket, self._number = socket, 0
        self.asked: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result

    def open(self, address: str) -> Self:
        """Open an address and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        while self._receive().get("method") != "Page.loadEventFired":
            pass
        return self

    def size(self, width: int, height: int, *, mobile: bool = False) -> Self:
        """Give the window a size in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        return self

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str, *, seconds: float = 30.0) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, f"after {seconds} s still not: {script}\n{self.text()[:2000]}"
            time.sleep(0.2)
        return value

    def text(self) -> str:
        """Return what a person can read on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """Write a PNG of the window, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def pdf(self, path: Path) -> Path:
        """Write what the page is when it is printed."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))
        return path

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=60))
        given = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(given["request"]["url"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(given["exceptionDetails"]))
        if message.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.complaints.append(given["entry"]["text"])
        return message


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """Give a tab of a Chromium of its own; the test is skipped where there is none, but not in CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        assert not os.environ.get("CI"), "no Chromium: .ci/run installs it"
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    profile = folder / "chromium"
    command = [program, *QUIET, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as own:
        try:
            with connect(_tab(profile), max_size=None) as socket:
                yield Page(socket)
        finally:
            own.kill()


def _tab(profile: Path) -> str:
    """Return the address at which the first tab listens."""
    from urllib.request import urlopen

    told, deadline = profile / "DevToolsActivePort", time.monotonic() + START_SECONDS
    while not told.exists() or len(told.read_text().split()) < 2:
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.1)
    with urlopen(f"http://127.0.0.1:{told.read_text().split()[0]}/json/list", timeout=30) as answer:
        tabs = json.load(answer)
    return next(str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page")
