"""The browser of this machine, for tests of pages, pictures and benchmarks."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """The path of Chromium, by the name that it has here. Raises FileNotFoundError."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(
            f"There is none of {', '.join(NAMES)} here: apt-get install chromium"
        )
    return found
