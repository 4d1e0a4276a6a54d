"""The process that makes an audience for the API, so that no decision waits for it: `python -m service.audiences.child
STATUS`, with the environment of the API. It works at a lower priority and ends with its parent.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec
from redis import RedisError

from features.settings import load
from service.audiences.files import AudienceError
from service.audiences.running import run, save
from service.audiences.schema import Audience

NICE = 10
SAVE_SECONDS = 0.5


def make(status: Path) -> None:
    """Make the audience that stands in `status`, and tell there how far it is."""
    os.nice(NICE)
    settings = load(os.environ)
    audience = msgspec.json.decode(status.read_bytes(), type=Audience)
    audience.process = os.getpid()
    save(audience, status)
    saved = time.monotonic()

    def tell(so_far: Audience) -> None:
        nonlocal saved
        if time.monotonic() - saved > SAVE_SECONDS:
            save(so_far, status)
            saved = time.monotonic()

    try:
        asyncio.run(run(settings, settings.redis_url or "", audience, status.with_suffix(f".{audience.format}"), tell))
    except (AudienceError, RedisError, OSError) as error:
        audience.status, audience.error = "failed", str(error) or type(error).__name__
    except BaseException:
        audience.status, audience.error = "failed", "it broke; the service logged why"
        raise
    finally:
        save(audience, status)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
