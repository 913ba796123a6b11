"""The HTTP API: the Flask application, one blueprint per resource."""

from dbaudit.api.application import ApiSettings, create_app
from dbaudit.api.engines import EngineDescription
from dbaudit.api.server import ApiServer, serve

__all__ = ["ApiServer", "ApiSettings", "EngineDescription", "create_app", "serve"]
