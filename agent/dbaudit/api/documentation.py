"""`/v1/openapi.json` and `/v1/docs/`: the document, and Swagger UI to read it and try it."""

from __future__ import annotations

from flask import Blueprint, Response
from flask_swagger_ui import get_swaggerui_blueprint  # type: ignore[import-untyped]  # the package has no types

from dbaudit.api.gate import JSON, Call, Gate

_PAGE = "/v1/docs"
_DOCUMENT = "/v1/openapi.json"
# Swagger UI starts from a script in the page; everything that it loads comes from this service.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def documentation_blueprint(gate: Gate) -> Blueprint:
    """The document. It needs no key."""
    blueprint = Blueprint("documentation", __name__)

    def document(call: Call) -> Response:
        return Response(gate.document.json, mimetype=JSON)

    gate.bind(blueprint, {"get_openapi_document": document})
    return blueprint


def documentation_page(gate: Gate) -> Blueprint:
    """The page `show_documentation` with the files that it loads."""
    page: Blueprint = get_swaggerui_blueprint(
        _PAGE,
        _DOCUMENT,
        config={"app_name": "dbaudit API", "validatorUrl": None},
        blueprint_name="swagger_ui",
    )

    def restrict(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    page.after_request(restrict)
    gate.bound.add("show_documentation")
    return page
