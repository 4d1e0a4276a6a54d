"""How late this process is: what has waited before a request was even read counts against its deadline."""

from __future__ import annotations

import asyncio

PAUSE_SECONDS = 0.005


class Lag:
    """Seconds that a request has lately waited for its turn in the event loop."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def follow(self) -> None:
        """Measure until cancelled: by how much a short sleep is late."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PAUSE_SECONDS
            await asyncio.sleep(PAUSE_SECONDS)
            self.seconds = max(loop.time() - due, 0.0)
