"""The conformance suite: what every engine does, as one class that an author's test class inherits.

The tests ask a fixture ``monitored`` for an instance of ``dbaudit.testing.Monitored``; it may have any scope.
A file may have several such classes: one for each server, version or audit source.
"""

from __future__ import annotations

from dbaudit.testing.suite.collecting import CollectingChecks
from dbaudit.testing.suite.connecting import ConnectingChecks
from dbaudit.testing.suite.host import HostChecks
from dbaudit.testing.suite.hostile import HostileChecks
from dbaudit.testing.suite.metadata import MetadataChecks
from dbaudit.testing.suite.reporting import ReportingChecks
from dbaudit.testing.suite.resources import ResourceChecks
from dbaudit.testing.suite.resuming import ResumingChecks
from dbaudit.testing.suite.secrets import SecretChecks
from dbaudit.testing.suite.tls import TlsChecks

__all__ = ["Conformance", "SourceConformance"]


class SourceConformance(ReportingChecks, CollectingChecks, ResumingChecks, HostileChecks, HostChecks):
    """What depends on the audit source: for the other sources of an engine that passes all of Conformance."""


class Conformance(
    MetadataChecks, ConnectingChecks, TlsChecks, SourceConformance, SecretChecks, ResourceChecks
):
    """Every check. A test that an engine cannot pass for a reason is overridden by one that says the reason
    with ``pytest.skip``.
    """
