"""The console: pages that the server renders, for people.

Handlers of `views` look and act through the same functions as the command line; what they write are rows, the sensor does the work.
Pages are links and forms; scripts only bring parts of pages and open dialogs.
"""

from engage_pipelines.server.console.bare import error_page, login_page
from engage_pipelines.server.console.routes import routes

__all__ = ["error_page", "login_page", "routes"]
