"""The report of a connection test, its remedies, and the health of a database."""

from __future__ import annotations

import pytest

from dbaudit.engine import (
    Capability,
    CheckStatus,
    Diagnosis,
    DiagnosisStatus,
    Health,
    TestReport,
)
from dbaudit.testing.monitored import Monitored

_BAD = (DiagnosisStatus.WARNING, DiagnosisStatus.FAILED)


class ReportingChecks:
    """What a user reads before anything is collected."""

    def test_report_of_a_server_as_documented_is_a_success(self, monitored: Monitored) -> None:
        report = _report(monitored)
        assert report.reachable
        assert report.success, report.warnings
        assert report.error_code is None
        assert report.error is None
        assert report.version or not monitored.connects, "the report says the version as its users write it"
        assert report.latency_ms is None or report.latency_ms > 0
        assert report.audit_source, "the report says which audit source was found"
        assert [right for right, granted in report.permissions.items() if granted is not True] == []

    def test_each_diagnosis_has_its_own_code_and_says_what_to_do(self, monitored: Monitored) -> None:
        report = _report(monitored)
        codes = [diagnosis.code for diagnosis in report.diagnoses]
        assert len(set(codes)) == len(codes) > 0
        for diagnosis in report.diagnoses:
            assert diagnosis.detail.strip(), diagnosis
            assert "\n" not in diagnosis.detail, diagnosis
            assert diagnosis.status is not DiagnosisStatus.FAILED or diagnosis.remedy, diagnosis

    def test_report_is_the_same_when_it_is_made_again(self, monitored: Monitored) -> None:
        with monitored.engine.open(monitored.target()) as session:
            first, second = session.test(), session.test()
        assert _statuses(first) == _statuses(second)
        assert first.permissions == second.permissions

    def test_missing_right_is_found_and_its_remedy_mends_it(self, monitored: Monitored) -> None:
        if not monitored.rights:
            pytest.skip(f"{type(monitored).__name__} names no rights")
        before = _report(monitored)
        for right in monitored.rights:
            monitored.revoke(right)
            broken = _report(monitored)
            found = _newly_bad(before, broken)
            assert found, f"without {right} the report is what it was with it"
            assert right not in before.permissions or not broken.permissions[right]
            assert not broken.success or all(d.status is DiagnosisStatus.WARNING for d in found)
            for diagnosis in found:
                assert diagnosis.remedy, f"{diagnosis.code} says nothing of what to do"
                monitored.carry_out(diagnosis.remedy)
            mended = _report(monitored)
            assert _newly_bad(before, mended) == [], f"the remedies did not bring back {right}"
            assert mended.permissions == before.permissions

    def test_health_is_measured(self, monitored: Monitored) -> None:
        with monitored.engine.open(monitored.target()) as session:
            health = session.health()
        assert isinstance(health, Health)
        assert health.measured_at_us > 0
        if monitored.connects:
            assert health.connectivity is CheckStatus.HEALTHY
            assert health.latency is not CheckStatus.UNKNOWN
            assert health.latency_ms is not None
            assert health.latency_ms > 0
        if health.disk_free_ratio is not None:
            assert Capability.DISK_SPACE in monitored.engine.capabilities
            assert 0 <= health.disk_free_ratio <= 1
            assert health.disk_space is not CheckStatus.UNKNOWN


def _report(monitored: Monitored) -> TestReport:
    with monitored.engine.open(monitored.target()) as session:
        report = session.test()
    assert isinstance(report, TestReport)
    return report


def _statuses(report: TestReport) -> dict[str, DiagnosisStatus]:
    return {diagnosis.code: diagnosis.status for diagnosis in report.diagnoses}


def _newly_bad(before: TestReport, now: TestReport) -> list[Diagnosis]:
    statuses = _statuses(before)
    return [d for d in now.diagnoses if d.status in _BAD and statuses.get(d.code) is not d.status]
