"""TLS: each mode does what its name says, on the wire."""

from __future__ import annotations

import msgspec
import pytest

from dbaudit.engine import Capability, ConfigurationError, ErrorCode, SslMode, Target
from dbaudit.testing.certificates import CertificateAuthority
from dbaudit.testing.monitored import Monitored
from dbaudit.testing.outcomes import refusal
from dbaudit.testing.wire import Relay

_ENCRYPTED = [SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL]
_VERIFIED = [SslMode.VERIFY_CA, SslMode.VERIFY_FULL]
_LOOPBACK = ("127.0.0.1", "localhost")
_OTHER_HOST = "127.0.0.2"
_SHORT_SECONDS = 1.0
_STRANGER = CertificateAuthority("somebody else")


class TlsChecks:
    """The four modes, certificates that must be refused, and malformed PEM."""

    @pytest.mark.parametrize("mode", list(SslMode))
    def test_mode_of_tls_is_what_goes_over_the_wire(self, monitored: Monitored, mode: SslMode) -> None:
        target = monitored.tls_target(mode)
        assert target.ssl_mode is mode
        if target.host not in _LOOPBACK:
            monitored.engine.open(target).close()
            return
        relay = Relay((target.host, target.port))
        with relay.open() as port:
            monitored.engine.open(msgspec.structs.replace(target, port=port)).close()
            assert relay.carried_tls() is (mode is not SslMode.DISABLE)
            # Whatever the mode: every protocol has a way not to send it plain, and not to offer a weaker one.
            password = target.password.reveal()
            assert not (password and mode is not SslMode.DISABLE and password.encode() in relay.sent())

    @pytest.mark.parametrize("mode", _VERIFIED)
    def test_certificate_of_another_authority_is_refused(self, monitored: Monitored, mode: SslMode) -> None:
        target = msgspec.structs.replace(monitored.tls_target(mode), ssl_ca=_STRANGER.certificate)
        error = refusal(lambda: monitored.engine.open(target), target)
        assert isinstance(error, ConfigurationError)
        assert error.code is ErrorCode.CERTIFICATE_INVALID

    def test_require_takes_a_certificate_of_any_authority(self, monitored: Monitored) -> None:
        target = msgspec.structs.replace(monitored.tls_target(SslMode.REQUIRE), ssl_ca=None)
        monitored.engine.open(target).close()

    @pytest.mark.parametrize("mode", _VERIFIED)
    def test_certificate_for_another_host_is_refused_by_verify_full_alone(
        self, monitored: Monitored, mode: SslMode
    ) -> None:
        target = monitored.tls_target(mode)
        if target.host not in _LOOPBACK:
            pytest.skip("the server is not on a loopback address")
        with Relay((target.host, target.port)).open(_OTHER_HOST) as port:
            other = msgspec.structs.replace(target, host=_OTHER_HOST, port=port)
            if mode is SslMode.VERIFY_CA:
                monitored.engine.open(other).close()
            else:
                error = refusal(lambda: monitored.engine.open(other), other)
                assert error.code is ErrorCode.CERTIFICATE_INVALID

    def test_ca_that_is_no_pem_is_reported_with_its_field(self, monitored: Monitored) -> None:
        target = msgspec.structs.replace(monitored.tls_target(SslMode.VERIFY_FULL), ssl_ca="no certificate")
        error = refusal(lambda: monitored.engine.open(target), target)
        assert error.code is ErrorCode.CERTIFICATE_INVALID
        assert [detail.pointer for detail in error.details] == ["/ssl_ca"]

    def test_server_without_tls_is_refused_before_the_password_is_sent(self, monitored: Monitored) -> None:
        target = monitored.no_tls_target()
        assert target.ssl_mode is SslMode.REQUIRE
        relay = Relay((target.host, target.port))
        with relay.open() as port:
            nearer = msgspec.structs.replace(
                target, host="127.0.0.1", port=port, connect_timeout_seconds=_SHORT_SECONDS
            )
            error = refusal(lambda: monitored.engine.open(nearer), target)
            # Some servers wait for more of what they take for a request, or hang up.
            silent = (ErrorCode.CONNECTION_TIMEOUT, ErrorCode.CONNECTION_LOST)
            assert error.code in (ErrorCode.TLS_FAILED, *silent)
            assert target.password.reveal().encode() not in relay.sent()

    def test_client_certificate_logs_in(self, monitored: Monitored) -> None:
        target = _by_certificate(monitored)
        monitored.engine.open(target).close()

    def test_client_certificate_without_its_key_is_reported_with_the_field(
        self, monitored: Monitored
    ) -> None:
        target = msgspec.structs.replace(_by_certificate(monitored), ssl_key=None)
        error = refusal(lambda: monitored.engine.open(target), target)
        assert error.code is ErrorCode.CERTIFICATE_INVALID
        assert [detail.pointer for detail in error.details] == ["/ssl_key"]


def _by_certificate(monitored: Monitored) -> Target:
    if Capability.CLIENT_CERTIFICATES not in monitored.engine.capabilities:
        pytest.skip("the engine has not the capability client_certificates")
    return monitored.client_certificate_target()
