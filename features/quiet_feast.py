"""Imported before Feast: without its telemetry, and without typeguard rewriting its classes as they are imported.

Those checks of Feast's own calls take two thirds of its import, which every command and process start waits for.
"""

import os

import typeguard

os.environ.setdefault("FEAST_USAGE", "False")  # looked at when Feast is imported

_typechecked = typeguard.typechecked
typeguard.typechecked = lambda target=None, **_: target or (lambda inner: inner)  # type: ignore[assignment]  # an overload
try:
    import feast
    import feast.infra.online_stores.redis
finally:
    typeguard.typechecked = _typechecked

__all__ = ["feast"]
