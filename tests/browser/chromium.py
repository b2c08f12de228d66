"""Which Chromium the browser tests drive, and how one gets here.

Run as a program (`make chromium`, part of `make test`) it installs one where none is found: the system's package where
apt-get works, else the build that Playwright fetches. One that is there already is left as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# A browser in a container: no sandbox for root, no GPU, and nothing sent to anyone but the page's own server.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class NoChromium(Exception):
    """No Chromium is here and none could be installed."""


def find_chromium() -> Path | None:
    """Look for a Chromium that starts.

    Returns:
        The system's, else the one Playwright fetched, else ``None``.
    """
    for name in NAMES:
        if (found := shutil.which(name)) and _starts(Path(found)):
            return Path(found)
    with sync_playwright() as playwright:  # not to be called while another one runs
        fetched = Path(playwright.chromium.executable_path)
    return fetched if _starts(fetched) else None


def _starts(executable: Path) -> bool:
    """A package may be a mere signpost to another kind of package: only an answer counts."""
    try:
        answer = subprocess.run([executable, "--version"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def install_chromium() -> Path:
    """Install a Chromium by the first way that works here.

    Raises:
        NoChromium: neither way worked; what the tools said stands above, on the terminal.
    """
    playwright = [sys.executable, "-m", "playwright", "install", "chromium"]
    ways = ([*_apt_get(), "install", "--yes", "--no-install-recommends", "chromium"], playwright)
    for way in ways:
        if way is not playwright and not _update_package_lists():
            continue
        print(f"Installing Chromium: {' '.join(way)}", flush=True)
        if subprocess.run(way, check=False).returncode == 0 and (found := find_chromium()):
            return found
    raise NoChromium


def _apt_get() -> list[str]:
    as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    return [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]


def _update_package_lists() -> bool:
    """apt-get works here if its lists can be renewed; without that it may not know the package."""
    if not shutil.which("apt-get") or (os.geteuid() != 0 and not shutil.which("sudo")):
        return False
    return subprocess.run([*_apt_get(), "update"], check=False).returncode == 0


if __name__ == "__main__":
    try:
        chromium = find_chromium() or install_chromium()
    except NoChromium:
        sys.exit("make test: no Chromium is here, and neither apt-get nor Playwright could install one")
    print(f"Chromium: {chromium}")
