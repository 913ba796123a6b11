# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""The connection to the API: one request at a time, with retries, and lists of many pages."""

from __future__ import annotations

import base64
import errno
import http.client
import json
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Any, Dict, Iterator, Mapping, Optional
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ApiError, ClientError

PER_PAGE = 100
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_TEXT = 300
# The API itself gives a connection test 45 seconds.
TEST_SECONDS = 60.0

# The server says itself that it has not carried the request out: it may be sent again whatever it does.
REFUSED = (429, 503)
# A proxy says so, and cannot know what the server did.
LOST_BY_PROXY = (502, 504)
# The connection was never made, so that nothing was sent.
NOT_CONNECTED = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)


class Client:
    """Sends requests to one API.

    :param url: the base address, with or without the ending ``/v1``.
    :param authorization: the value of the header Authorization.
    :param validate_certs: whether the certificate of the API is verified.
    :param ca_path: a file of PEM certificates to trust instead of the system's.
    :param timeout_seconds: how long to wait for an answer.
    :param retries: how often a request is sent again that was refused for the moment or got lost.
    :raises ClientError: when one of them cannot be right.
    """

    def __init__(self, url: str, authorization: str, validate_certs: bool, ca_path: Optional[str], timeout_seconds: float, retries: int) -> None:
        if timeout_seconds < 1:
            raise ClientError("timeout must be at least 1 second.")
        self._url = _base(url)
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._headers = {"Accept": "application/json", "Authorization": authorization, "User-Agent": "ansible-dbaudit"}
        # Not "ansible.module_utils.urls": it reads all trusted certificates again for each request (30 ms), and .netrc files.
        tls = [HTTPSHandler(context=_tls(validate_certs, ca_path))] if self._url.startswith("https:") else []
        self._opener = build_opener(_NoRedirection, *tls)

    @property
    def by_user(self) -> bool:
        """Whether a user's name and password are sent, and no key."""
        return self._headers["Authorization"].startswith("Basic ")

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Client:
        """The client that a module's connection options describe."""
        return cls(
            params["api_url"], _authorization(params), params["validate_certs"], params["ca_path"], params["timeout"], params["retries"]
        )

    def items(self, path: str, query: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
        """Every item of the list at ``path`` that fits ``query``, from all pages, each once.

        :raises ClientError: as ``request``.
        """
        seen = set()
        page = 1
        while True:
            answer = self.request("GET", path, dict(query, page=page, per_page=PER_PAGE))
            try:
                items, total = answer["data"], answer["pagination"]["total"]
            except (KeyError, TypeError) as error:
                raise self._stranger("GET", path) from error
            for item in items:
                if item["id"] not in seen:
                    seen.add(item["id"])
                    yield item
            if not items or page * PER_PAGE >= total:
                return
            page += 1

    def command(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> None:
        """As ``request``, for requests whose success depends on the status only, whatever the answer's body is."""
        self._request(method, path, None, body)

    def request(self, method: str, path: str, query: Optional[Mapping[str, Any]] = None, body: Optional[Mapping[str, Any]] = None) -> Any:
        """Sends one request and returns the JSON value of the answer, None for an empty one.

        A request that may have been carried out is sent again only if carrying it out twice is the same as once.

        :param path: below the base address, such as ``/v1/databases``.
        :param query: parameters of the query; none of them may be empty.
        :param body: sent as JSON.
        :raises ApiError: the API refused.
        :raises ClientError: no usable answer came.
        """
        content = self._request(method, path, query, body)
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            raise self._stranger(method, path) from error

    def _request(self, method: str, path: str, query: Optional[Mapping[str, Any]], body: Optional[Mapping[str, Any]]) -> bytes:
        given = dict(query or {})
        empty = [name for name, value in given.items() if value is None or value == ""]
        if empty:
            raise ClientError("%s is empty; without it, %s would be asked for more than was meant." % (empty[0], path))
        harmless = method == "GET" or "dry_run" in given
        repeatable = harmless or method != "POST"
        tests = "verify" in given or path.endswith("/test")
        timeout_seconds = max(self._timeout_seconds, TEST_SECONDS) if tests else self._timeout_seconds
        attempt = 0
        while True:
            pause = FIRST_PAUSE_SECONDS * 2**attempt
            try:
                return self._send(method, path, given, body, timeout_seconds)
            except HTTPError as error:
                failure = self._refusal(method, path, error)
                again = error.code in REFUSED or (repeatable and error.code in LOST_BY_PROXY)
                pause = _asked_pause(error, pause)
            except (OSError, http.client.HTTPException) as error:
                reason = _reason(error)
                unsent = _unsent(error)
                if isinstance(reason, socket.timeout):
                    reason = OSError("no answer came within %d seconds" % timeout_seconds)
                failure = self._silence(method, path, reason, unsent or harmless)
                again = (unsent or repeatable) and not isinstance(reason, ssl.SSLCertVerificationError)
            if not again or attempt >= self._retries or pause > LONGEST_PAUSE_SECONDS:
                raise failure
            time.sleep(pause)
            attempt += 1

    def _send(
        self, method: str, path: str, query: Mapping[str, Any], body: Optional[Mapping[str, Any]], timeout_seconds: float
    ) -> bytes:
        request = Request(self._url + path + ("?" + urlencode(query) if query else ""), method=method, headers=self._headers)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with self._opener.open(request, timeout=timeout_seconds) as response:
            return response.read()

    def _refusal(self, method: str, path: str, error: HTTPError) -> ClientError:
        if 300 <= error.code < 400:
            return ClientError(
                "%s %s was redirected to %s. Give the address behind the redirection as api_url." % (method, path, error.headers.get("Location"))
            )
        try:
            content = error.read()
        except (OSError, http.client.HTTPException):
            content = b""
        # A proxy that shows the request in its error shall not show the credentials here.
        content = content.replace(self._headers["Authorization"].partition(" ")[2].encode(), b"********")
        return ApiError("%s %s" % (method, path), error.code, _error_in(content, error.reason))

    def _stranger(self, method: str, path: str) -> ClientError:
        return ClientError("There is no dbaudit API at %s: the answer to %s %s is none that it gives." % (self._url, method, path))

    def _silence(self, method: str, path: str, reason: BaseException, undone: bool) -> ClientError:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return ClientError(
                "The certificate of %s cannot be trusted: %s. Give the certificate of its authority as ca_path." % (self._url, reason.verify_message)
            )
        if undone:
            return ClientError("The API at %s cannot be reached for %s %s: %s." % (self._url, method, path, reason))
        return ClientError(
            "The connection to %s broke during %s %s: %s. Whether it was carried out is not known; running the task again finds out."
            % (self._url, method, path, reason)
        )


class _NoRedirection(HTTPRedirectHandler):
    """Leaves a redirection as an error: its target shall not get the key."""

    def redirect_request(self, *dummy: Any) -> None:
        return None


def _authorization(params: Mapping[str, Any]) -> str:
    """The value of the header Authorization: a user's name and password (RFC 7617) where they are given, else the key."""
    username = params.get("api_username")
    if username is None:
        key = params["api_key"]
        if not key:
            raise ClientError("api_key is empty. Give a key of the API; dbaudit keys create makes one.")
        if not key.isascii() or not key.isprintable():
            raise ClientError("api_key holds characters that no key has, such as a line break. Give the key alone.")
        return "Bearer " + key
    if not username or not params["api_password"]:
        raise ClientError("api_username or api_password is empty.")
    if ":" in username:
        raise ClientError("api_username holds a colon, which HTTP Basic authentication cannot send.")
    if not (username + params["api_password"]).isprintable():
        raise ClientError("api_username or api_password holds control characters, such as a line break.")
    return "Basic " + base64.b64encode(("%s:%s" % (username, params["api_password"])).encode()).decode()


def _tls(validate_certs: bool, ca_path: Optional[str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except OSError as error:
        raise ClientError("ca_path %s cannot be used as a file of PEM certificates: %s." % (ca_path, error)) from error
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = url.isascii() and url.isprintable() and " " not in url and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc or parts.query or parts.fragment:
        raise ClientError("api_url must be the address of the API without user or query, such as https://audit.example.com:8443.")
    base = url.rstrip("/")
    return base[: -len("/v1")] if base.endswith("/v1") else base


def _error_in(content: bytes, reason: str) -> Dict[str, Any]:
    """The answer ``{"error": {...}}`` that an error's body is or comes to.

    The paths below /v1/cluster have ``error_code`` and ``message``, those of Redis Enterprise often ``description`` instead
    (https://github.com/redis/redisctl/issues/1080), or a line of text, or nothing.
    """
    try:
        answer = json.loads(content)
    except ValueError:
        text = content.decode("utf-8", "replace").strip()
        return {"error": {"message": reason if not text or text.startswith("<") else " ".join(text.split())[:LONGEST_TEXT]}}
    if not isinstance(answer, dict):
        return {"error": {"message": reason}}
    if isinstance(answer.get("error"), dict):
        return answer
    message = answer.get("description") or answer.get("message") or answer.get("error_code") or reason
    return {"error": {"code": answer.get("error_code"), "message": message}}


def _asked_pause(error: HTTPError, otherwise: float) -> float:
    """The seconds that the header Retry-After (RFC 9110, 10.2.3) asks for, as a number or as a date."""
    value = error.headers.get("Retry-After", "")
    try:
        return float(value) if value.isdigit() else max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return otherwise


def _reason(error: BaseException) -> BaseException:
    return error.reason if isinstance(error, URLError) and isinstance(error.reason, BaseException) else error


def _unsent(error: BaseException) -> bool:
    """Whether the connection was not even made; urllib packs what fails before the answer into URLError."""
    reason = _reason(error)
    return isinstance(error, URLError) and (
        isinstance(reason, (socket.gaierror, ssl.SSLCertVerificationError)) or getattr(reason, "errno", None) in NOT_CONNECTED
    )
