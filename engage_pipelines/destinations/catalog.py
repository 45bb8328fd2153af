"""The catalogue: every destination type there is, ours and those that other packages bring under the entry point `engage_pipelines.destinations`."""

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

import engage_pipelines.destinations as package
from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.domain.errors import NotFoundError
