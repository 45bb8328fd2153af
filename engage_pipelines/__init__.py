"""engage_pipelines: audiences computed from customer data and delivered to every connected destination, as Dagster assets."""

__version__ = "0.1.0"
