"""What only some kinds of records have: grants, fine-grained auditing, Database Vault, RMAN and Data Pump."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNNAMED = -1
"""The code of a failure to which the record gives no number."""

_IN_DETAIL = {
    "NEW_SCHEMA": "new_schema",
    "NEW_NAME": "new_name",
    "ROLE": "role",
    "TARGET_USER": "target_user",
    "SYSTEM_PRIVILEGE": "granted_privilege",
    "OBJECT_PRIVILEGES": "object_privileges",
    "AUDIT_OPTION": "audit_option",
    "EXCLUDED_USER": "excluded_user",
    "GLOBAL_USERID": "global_user",
    "DBLINK_INFO": "database_link",
    "ADDITIONAL_INFO": "additional_info",
    "FGA_POLICY_NAME": "fga_policy",
    "DV_ACTION_NAME": "vault_action",
    "DV_ACTION_OBJECT_NAME": "vault_object",
    "DV_RULE_SET_NAME": "vault_rule_set",
    "DV_RETURN_CODE": "vault_return_code",
    "DV_GRANTEE": "vault_grantee",
    "DV_COMMENT": "vault_comment",
    "DV_FACTOR_CONTEXT": "vault_factors",
    "DV_OBJECT_STATUS": "vault_object_status",
    "RMAN_OPERATION": "rman_operation",
    "RMAN_OBJECT_TYPE": "rman_object_type",
    "RMAN_DEVICE_TYPE": "rman_device_type",
    "RMAN_SESSION_RECID": "rman_session_recid",
    "RMAN_SESSION_STAMP": "rman_session_stamp",
    "DP_TEXT_PARAMETERS1": "data_pump_parameters",
    "DP_BOOLEAN_PARAMETERS1": "data_pump_switches",
    "DP_WARNINGS1": "data_pump_warnings",
    "DIRECT_PATH_NUM_COLUMNS_LOADED": "direct_path_columns",
    "SES_ACTIONS": "session_actions",
}


def put_more(detail: dict[str, Any], more: Mapping[str, Any], user: str | None) -> None:
    """Put into ``detail`` what the record has of these columns."""
    for column, name in _IN_DETAIL.items():
        value = more[column]
        if value is not None and value != "":
            detail[name] = value if isinstance(value, str) else _whole(value)
    acting = more["CURRENT_USER"]
    if acting and acting != user:
        detail["acting_as"] = acting


def principals(more: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The role and the user that a record without an object is about."""
    named = tuple(more[column] for column in ("ROLE", "TARGET_USER") if more[column])
    return named or None


def verdict(code: Any, more: Mapping[str, Any]) -> Any:
    """The code of the outcome: that of Database Vault where it is the one that refused.

    A violation is a failure whatever number the record has; None if the record does not say.
    """
    if code:
        return code
    vault = more["DV_RETURN_CODE"]
    if vault:
        return vault
    action = more["DV_ACTION_NAME"]
    if action and "VIOLATION" in action.upper():
        return UNNAMED
    return vault if code is None else code


def _whole(value: Any) -> int:
    number = int(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError
    return number
