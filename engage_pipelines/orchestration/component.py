"""engage_pipelines as a component of somebody's own Dagster project: audiences and syncs beside their assets, lineage from their models on.

# defs/audiences/defs.yaml
type: engage_pipelines.orchestration.component.EngageComponent
attributes:
  registry_url: "{{ env.ENGAGE_DATABASE_URL }}"
  key_prefix: [marketing]
  upstream: [dbt/orders, dbt/customers]
"""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from engage_pipelines.orchestration.build import Mount, build_mounted
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import Settings, child_environment, read_settings


class EngageComponent(dg.Component, dg.Model, dg.Resolvable):
    """Audiences computed from customer data, and every connected destination kept true to them."""

    registry_url: str | None = Field(
        None, description="The registry's database as a SQLAlchemy URL; ENGAGE_DATABASE_URL, or SQLite below `home`, unless said."
    )
    home: str | None = Field(None, description="The folder of facts and versions; ENGAGE_HOME unless said.")
    key_prefix: list[str] = Field(default_factory=list[str], description="What stands before every asset key.")
    upstream: list[str] = Field(
        default_factory=list[str], description="Keys of the assets that the facts of every space are made from, such as dbt/orders."
    )
    upstream_of: dict[str, list[str]] = Field(
        default_factory=dict[str, list[str]], description="The same for single spaces, by the key of the space."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        del context
        settings = self.settings()
        mount = Mount(tuple(self.key_prefix), self._upstream)
        return build_mounted(settings, Database(settings.database_url), _engine(settings), mount)

    def settings(self) -> Settings:
        """Those of the environment, with what the component says."""
        said = {"ENGAGE_DATABASE_URL": self.registry_url, "ENGAGE_HOME": self.home}
        return read_settings(child_environment(**{name: value for name, value in said.items() if value}))

    def _upstream(self, space: str) -> Sequence[dg.AssetKey]:
        named = dict.fromkeys([*self.upstream, *self.upstream_of.get(space, ())])
        return [dg.AssetKey.from_user_string(key) for key in named]


def _engine(settings: Settings) -> dg.ResourceDefinition:
    @dg.resource(description="Computes audiences and syncs connections, on the state that the component names.")
    def engine(_: dg.InitResourceContext) -> object:
        # a run alone pays for its imports: DuckDB, Arrow and the destinations
        from engage_pipelines.orchestration.engine import open_engine  # noqa: PLC0415

        return open_engine(settings)

    return engine
