# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""The options of the connection to the API; their documentation is the fragment ``connection``."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Tuple

from ansible.module_utils.basic import AnsibleModule, _load_params, env_fallback


def argument_spec(**own: Any) -> Dict[str, Any]:
    """The module's ``own`` options together with those of the connection to the API."""
    return dict(
        own,
        api_url={"type": "str", "required": True, "fallback": (env_fallback, ["DBAUDIT_API_URL"])},
        api_key={"type": "str", "required": True, "no_log": True, "fallback": (env_fallback, ["DBAUDIT_API_KEY"])},
        validate_certs={"type": "bool", "default": True},
        ca_path={"type": "path"},
        timeout={"type": "int", "default": 30},
        retries={"type": "int", "default": 3},
    )


def refuse_empty(module: AnsibleModule, names: Iterable[str]) -> None:
    """Fails where one of these options was given and is null or empty.

    They say what a module touches: one that was rendered to nothing would address more than its author meant. Ansible
    itself takes a null for an option that was left out; what was really given is in what the module was called with.
    """
    _refuse(module, names, (None, "", []))


def refuse_null(module: AnsibleModule, names: Iterable[str]) -> None:
    """As ``refuse_empty``, for lists that mean something when they are empty."""
    _refuse(module, names, (None, ""))


def _refuse(module: AnsibleModule, names: Iterable[str], nothing: Tuple[Any, ...]) -> None:
    given = _load_params()
    for name in names:
        if name in given and given[name] in nothing:
            module.fail_json(msg="%s is empty. Give a value; to leave the option out where a variable has none, use default(omit)." % name)


# What a module with ``cluster_argument_spec`` passes to AnsibleModule beside it.
CLUSTER_RULES = {
    "required_one_of": [("api_key", "api_username")],
    "required_together": [("api_username", "api_password")],
}


def cluster_argument_spec(**own: Any) -> Dict[str, Any]:
    """As ``argument_spec``, for modules that can talk to a Redis Enterprise cluster too, which knows users and no keys."""
    spec = argument_spec(**own)
    return dict(
        spec,
        api_key=dict(spec["api_key"], required=False),
        api_username={"type": "str", "fallback": (env_fallback, ["DBAUDIT_API_USERNAME"])},
        api_password={"type": "str", "no_log": True, "fallback": (env_fallback, ["DBAUDIT_API_PASSWORD"])},
    )
