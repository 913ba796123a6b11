"""The conformance kit: what an author of an engine imports to hold it to what every engine does.

In one test file, with pytest::

    from dbaudit.testing import Monitored, Visitor
    from dbaudit.testing.suite import Conformance

    @pytest.fixture(scope="module")
    def monitored():
        with my_server_running() as server:
            yield MyMonitored(server)  # a subclass of Monitored

    class TestMyEngine(Conformance):
        pass

What ``MyMonitored`` does not say how to do is skipped, and the skipped test says what was missing.
"""

try:
    import cryptography  # noqa: F401  # signs the certificates
    import pytest
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"dbaudit.testing needs {missing.name}: pip install 'dbaudit[testing]'", name=missing.name
    ) from None

# The failures of the suite show the values that were compared, as those of the author's own tests do.
pytest.register_assert_rewrite("dbaudit.testing.suite", "dbaudit.testing.outcomes")

from dbaudit.testing.certificates import CertificateAuthority, Credential  # noqa: E402  # after the line above
from dbaudit.testing.collecting import Collecting  # noqa: E402  # after the line above
from dbaudit.testing.monitored import Monitored, Visitor  # noqa: E402  # after the line above

__all__ = ["CertificateAuthority", "Collecting", "Credential", "Monitored", "Visitor"]
