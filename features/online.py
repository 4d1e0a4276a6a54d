"""Feast's Redis online store over the generation that serves, for all who come by Feast itself: notebooks, its own
command line. Decisions and workers go by `features.store`, which needs no further question to Redis for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import features.quiet_feast  # noqa: F401  # before Feast

# isort: split
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

from features import generations

if TYPE_CHECKING:
    from feast.repo_config import RepoConfig


class GenerationOnlineStoreConfig(RedisOnlineStoreConfig):
    type: str = "features.online.GenerationOnlineStore"  # type: ignore[assignment]  # stock Feast has one name only


class GenerationOnlineStore(RedisOnlineStore):
    """`online_store: {type: features.online.GenerationOnlineStore}`."""

    def _of_current(self, config: RepoConfig) -> RepoConfig:
        generation = generations.current(self._get_client(config.online_store))
        return config.model_copy(update={"project": generations.project_of(generation)})

    def _generate_redis_keys_for_entities(self, config: RepoConfig, entity_keys: Any) -> Any:
        return super()._generate_redis_keys_for_entities(self._of_current(config), entity_keys)

    def online_write_batch(self, config: RepoConfig, table: Any, data: Any, progress: Any) -> None:
        super().online_write_batch(self._of_current(config), table, data, progress)

    async def online_write_batch_async(self, config: RepoConfig, table: Any, data: Any, progress: Any) -> None:
        await super().online_write_batch_async(self._of_current(config), table, data, progress)
