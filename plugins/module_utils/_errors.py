# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""What can go wrong while talking to the API, and what the user is told."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional


class ClientError(Exception):
    """The base of everything that this collection raises on purpose; its text is one clear line."""

    def result(self) -> Dict[str, Any]:
        """The arguments for ``AnsibleModule.fail_json``."""
        return {"msg": str(self)}


class ApiError(ClientError):
    """The API answered with an error.

    ``status`` is the HTTP status; the other fields come from the answer's ``error`` object and are empty when the
    answer is none of the API's (a proxy's page, for instance).
    """

    def __init__(self, request: str, status: int, error: Mapping[str, Any]) -> None:
        self.status = status
        self.code = error.get("code")  # type: Optional[str]
        self.request_id = error.get("request_id")  # type: Optional[str]
        self.details = [
            {"pointer": str(detail.get("pointer", "")), "message": str(detail.get("message", ""))}
            for detail in error.get("details") or ()
        ]
        message = str(error.get("message") or "without a word of explanation")
        super().__init__(" ".join(["%s answered %d: %s" % (request, status, message)] + [_line(d) for d in self.details]))

    def result(self) -> Dict[str, Any]:
        return {
            "msg": str(self),
            "status": self.status,
            "error_code": self.code,
            "details": self.details,
            "request_id": self.request_id,
        }


def _line(detail: Mapping[str, str]) -> str:
    return "[%(pointer)s: %(message)s]" % detail if detail["pointer"] else "[%(message)s]" % detail
