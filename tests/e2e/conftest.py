"""A real browser for the tests that look at pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        missing = "no chromium and chromedriver here: apt-get install chromium chromium-driver"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


@pytest.fixture
def browser(_driver: Any) -> Iterator[Any]:
    """Headless Chromium through selenium: one process for all tests, an empty page and empty logs for each."""
    _driver.get("about:blank")
    for kind in ("browser", "performance"):
        _driver.get_log(kind)
    yield _driver
    _driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    _driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture
def resize(browser: Any) -> Any:
    """resize(width, scheme): how wide the page is, in CSS pixels, and whether the reader prefers `light` or `dark`."""

    def set_size(width: int, scheme: str = "light") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        preference = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})

    return set_size


@pytest.fixture
def picture(browser: Any, tmp_path: Path) -> Any:
    """picture(name): a PNG of the whole page, kept in $LLMLABEL_PICTURES or the test's folder."""
    import base64

    def take(name: str) -> Path:
        height = browser.execute_script("return document.documentElement.scrollHeight")
        width = browser.execute_script("return document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path = Path(os.environ.get("LLMLABEL_PICTURES") or tmp_path) / f"{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    return take
