"""A real browser, Debian's chromium, that shows a page at a size and by day or in the dark."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--disable-crash-reporter"),
)


def missing() -> str | None:
    """Why there is no browser here, None where there is one."""
    gone = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"not installed: {', '.join(gone)}" if gone else None


@dataclass
class Browser:
    driver: Chrome

    def open(self, page: Path, width: int, height: int, *, dark: bool) -> list[str]:
        """Show a file. The addresses that it asked for."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._size(width, height)
        self.driver.get(page.as_uri())
        entries = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
            and message["params"]["documentURL"] == page.as_uri()
        ]

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def picture(self, file: Path, width: int) -> None:
        """The whole page, from its top to its end."""
        height = self.ask("return document.documentElement.scrollHeight")
        self._size(width, height)
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        file.write_bytes(base64.b64decode(taken["data"]))

    def _size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile, which leaves nothing elsewhere."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in (*_SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    environment = {**os.environ, "HOME": str(profile), "XDG_CONFIG_HOME": str(profile)}
    driver = Chrome(options, Service(shutil.which("chromedriver"), env=environment))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
