"""What Microsoft's documentation says that the views and functions of each version give: columns with types.

None of it is taken from what the engine asks for. ``AZURE`` are the services whose audits fill durations and
rows; the other servers of 2017 and later have these columns too, and fill them with 0.
"""

from __future__ import annotations

from collections.abc import Mapping

Columns = Mapping[str, str]


def _of(text: str) -> dict[str, str]:
    found = {}
    for pair in text.split(","):
        name, kind = pair.split()
        found[name] = kind
    return found


_AUDIT_2016 = """
    event_time datetime2, sequence_number int, action_id varchar, succeeded bit, permission_bitmask varbinary,
    is_column_permission bit, session_id smallint, server_principal_id int, database_principal_id int,
    target_server_principal_id int, target_database_principal_id int, object_id int, class_type varchar,
    session_server_principal_name sysname, server_principal_name sysname, server_principal_sid varbinary,
    database_principal_name sysname, target_server_principal_name sysname,
    target_server_principal_sid varbinary, target_database_principal_name sysname,
    server_instance_name sysname, database_name sysname, schema_name sysname, object_name sysname,
    statement nvarchar, additional_information nvarchar, file_name nvarchar, audit_file_offset bigint,
    user_defined_event_id smallint, user_defined_information nvarchar, audit_schema_version int,
    sequence_group_id varbinary, transaction_id bigint
"""
_AUDIT_2017 = f"""
    {_AUDIT_2016}, client_ip nvarchar, application_name nvarchar, duration_milliseconds bigint,
    response_rows bigint, affected_rows bigint
"""
_AUDIT_2019 = f"""
    {_AUDIT_2017}, connection_id uniqueidentifier, data_sensitivity_information nvarchar, host_name nvarchar
"""
_AUDIT_2022 = f"""
    {_AUDIT_2019}, session_context nvarchar, client_tls_version bigint, client_tls_version_name nvarchar,
    database_transaction_id bigint, ledger_start_sequence_number bigint,
    external_policy_permissions_checked nvarchar, obo_middle_tier_app_id varchar,
    is_local_secondary_replica bit
"""
AUDIT_FILE = {
    12: _of(_AUDIT_2016.partition(", sequence_group_id")[0]),
    13: _of(_AUDIT_2016),
    14: _of(_AUDIT_2017),
    15: _of(_AUDIT_2019),
    16: _of(_AUDIT_2022),
    17: _of(_AUDIT_2022),
}
"""The columns of sys.fn_get_audit_file, by the server's major version."""
AZURE = _of(_AUDIT_2022)
NULLABLE_SINCE_2012 = frozenset({"user_defined_event_id", "user_defined_information"})

_EVENT_FILE_2016 = """
    module_guid uniqueidentifier, package_guid uniqueidentifier, object_name nvarchar, event_data max,
    file_name nvarchar, file_offset bigint
"""
EVENT_FILE_2016 = _of(_EVENT_FILE_2016)
EVENT_FILE = _of(f"{_EVENT_FILE_2016}, timestamp_utc datetime2")
"""The columns of sys.fn_xe_file_target_read_file; the time is there from 2017 on."""

_SERVER_AUDITS = """
    audit_id int, name sysname, audit_guid uniqueidentifier, create_date datetime, modify_date datetime,
    principal_id int, type char, type_desc nvarchar, on_failure tinyint, on_failure_desc nvarchar,
    is_state_enabled bit, queue_delay int, predicate nvarchar
"""
VIEWS: dict[str, dict[str, str]] = {
    "server_audits": _of(_SERVER_AUDITS),
    "server_file_audits": _of(
        f"""{_SERVER_AUDITS}, max_file_size bigint, max_rollover_files int, max_files int,
        reserved_disk_space int, log_file_path nvarchar, log_file_name nvarchar"""
    ),
    "server_audit_specifications": _of(
        """server_specification_id int, name sysname, create_date datetime, modify_date datetime,
        audit_guid uniqueidentifier, is_state_enabled bit"""
    ),
    "server_audit_specification_details": _of(
        """server_specification_id int, audit_action_id char, audit_action_name nvarchar, class tinyint,
        class_desc nvarchar, major_id int, minor_id int, audited_principal_id int, audited_result nvarchar,
        is_group bit"""
    ),
    "dm_server_audit_status": _of(
        """audit_id int, name sysname, status smallint, status_desc nvarchar, status_time datetime2,
        event_session_address varbinary, audit_file_path nvarchar, audit_file_size bigint"""
    ),
    "dm_audit_actions": _of(
        """action_id varchar, action_in_log bit, name sysname, class_desc nvarchar,
        parent_class_desc nvarchar, covering_action_name nvarchar, covering_parent_action_name nvarchar,
        configuration_level nvarchar, containing_group_name nvarchar"""
    ),
    "dm_xe_sessions": _of(
        """address varbinary, name nvarchar, pending_buffers int, total_regular_buffers int,
        regular_buffer_size bigint, total_large_buffers int, large_buffer_size bigint,
        total_buffer_size bigint, buffer_policy_flags int, buffer_policy_desc nvarchar, flags int,
        flag_desc nvarchar, dropped_event_count int, dropped_buffer_count int, blocked_event_fire_time int,
        create_time datetime, largest_event_dropped_size int"""
    ),
    "dm_xe_session_targets": _of(
        """event_session_address varbinary, target_name nvarchar, target_package_guid uniqueidentifier,
        execution_count bigint, execution_duration_ms bigint, target_data max"""
    ),
    "dm_xe_session_events": _of(
        """event_session_address varbinary, event_name nvarchar, event_package_guid uniqueidentifier,
        event_predicate nvarchar"""
    ),
    "databases": _of(
        """name sysname, database_id int, source_database_id int, owner_sid varbinary, create_date datetime,
        compatibility_level tinyint, collation_name sysname, user_access tinyint, user_access_desc nvarchar,
        is_read_only bit, state tinyint, state_desc nvarchar"""
    ),
    "master_files": _of(
        """database_id int, file_id int, file_guid uniqueidentifier, type tinyint, type_desc nvarchar,
        data_space_id int, name sysname, physical_name nvarchar, state tinyint, state_desc nvarchar, size int,
        max_size int, growth int"""
    ),
    "dm_os_volume_stats": _of(
        """database_id int, file_id int, volume_mount_point nvarchar, volume_id nvarchar,
        logical_volume_name nvarchar, file_system_type nvarchar, total_bytes bigint, available_bytes bigint,
        supports_compression bit, supports_alternate_streams bit, supports_sparse_files bit, is_read_only bit,
        is_compressed bit"""
    ),
}


def audit_file(major: int, *, azure: bool) -> Columns:
    """The columns of sys.fn_get_audit_file."""
    return AZURE if azure else AUDIT_FILE[min(max(major, 12), 17)]
