"""Chromium without a window, driven through its driver's protocol, WebDriver."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Left": "\ue012",
    "Up": "\ue013",
    "Right": "\ue014",
    "Down": "\ue015",
}
"""Keys that are no characters, and their code points in WebDriver."""
_SECONDS = 60


def missing() -> str:
    """Return the programs of a browser that this machine lacks, as a reason to skip; empty if it has them."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"needs a browser: {' and '.join(lacking)} of the packages chromium and chromium-driver" if lacking else ""


class Browser:
    """One window of 1280 x 900 pixels. `browser()` opens it."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._session = ""
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = f"/session/{self._post('/session', capabilities={'alwaysMatch': wanted})['sessionId']}"

    def close(self) -> None:
        """Close the window."""
        self._http.delete(self._session)

    def _post(self, path: str, **body: Any) -> Any:
        answer = self._http.post(f"{self._session}{path}", json=body).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def open(self, page: Path) -> None:
        """Open a file; returns when it has been loaded."""
        self._post("/url", url=page.as_uri())

    def run(self, script: str) -> Any:
        """Run a function's body in the page and return its result."""
        return self._post("/execute/sync", script=script, args=[])

    def until(self, script: str) -> Any:
        """Return the result of a script as soon as it is true."""
        end = time.monotonic() + _SECONDS
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"not true within {_SECONDS} seconds: {script}"
        return found

    def press(self, *keys: str) -> None:
        """Press keys one after the other: names of `KEYS`, or texts to type."""
        texts = [KEYS.get(key, key) for key in keys]
        steps = [{"type": kind, "value": each} for text in texts for each in text for kind in ("keyDown", "keyUp")]
        self._post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": steps}])

    def point(self, left: int, top: int, *, click: bool = False) -> None:
        """Move the pointer to a place in the window, and click there."""
        steps: list[dict[str, Any]] = [{"type": "pointerMove", "x": left, "y": top, "duration": 0}]
        if click:
            steps += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._post("/actions", actions=[{"type": "pointer", "id": "mouse", "actions": steps}])

    def prefer(self, colors: str) -> None:
        """Prefer `light` or `dark` pages."""
        media = {"features": [{"name": "prefers-color-scheme", "value": colors}]}
        self._post("/goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params=media)

    def picture(self) -> bytes:
        """Return what the window shows, as a PNG file."""
        return base64.b64decode(self._http.get(f"{self._session}/screenshot").json()["value"])

    def problems(self) -> list[str]:
        """Return the errors and warnings that the page has caused since the last call."""
        return [entry["message"] for entry in self._post("/se/log", type="browser")]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium and its driver, and stop both at the end."""
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            port = next(found[1] for line in driver.stdout if (found := re.search(r"on port (\d+)\.", line)))
            address = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=address, timeout=_SECONDS, trust_env=False) as http:
                window = Browser(http)
                try:
                    yield window
                finally:
                    window.close()
        finally:
            driver.terminate()
