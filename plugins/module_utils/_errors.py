# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""What can go wrong while talking to the API, and the messages for the user."""

from __future__ import annotations

from typing import Any, Dict, Mapping


class ClientError(Exception):
    """The base of everything that this collection raises on purpose; its text is one clear line.

    :param facts: what a task can go on with, beside the text.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.facts = facts

    def result(self) -> Dict[str, Any]:
        """The arguments for ``AnsibleModule.fail_json``."""
        return dict(self.facts, msg=str(self))


class ApiError(ClientError):
    """The API answered with an error.

    :param request: the request, in a word or two.
    :param status: the HTTP status.
    :param answer: the API's answer, ``{"error": {...}}``; empty when the answer is none of the API's but a proxy's
        page, for instance. Beside the error a failed connection test has its ``report``.
    """

    def __init__(self, request: str, status: int, answer: Mapping[str, Any]) -> None:
        error = answer.get("error") or {}
        facts = {
            "status": status,
            "error_code": error.get("code"),
            "details": error.get("details") or [],
            "request_id": error.get("request_id"),
        }
        if "report" in answer:
            facts["report"] = answer["report"]
        lines = ["%s answered %d: %s" % (request, status, error.get("message") or "no reason is given")]
        lines += ["[%(pointer)s: %(message)s]" % detail for detail in facts["details"]]
        if error.get("remedy"):
            lines.append("Remedy: %s" % error["remedy"])
        super().__init__(" ".join(lines), **facts)
        self.status = status
        self.code = facts["error_code"]

    @property
    def is_gone(self) -> bool:
        """Whether the API itself says that the resource is not there; the 404 of a proxy or of another path says nothing of it."""
        return self.status == 404 and self.code == "not_found" and self.facts["request_id"] is not None

    def advised(self, advice: str) -> ClientError:
        """The same error, with ``advice`` at its end."""
        return ClientError("%s %s" % (self, advice), **self.facts)
