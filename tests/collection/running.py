"""Runs the real modules: their ``main()`` in this process, or a whole playbook."""

import contextlib
import importlib
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.collection_copies import PROGRAMS


def run_module(module: str, /, **arguments: Any) -> dict[str, Any]:
    """What the module prints for Ansible. ``_ansible_check_mode`` and its like are sent as Ansible does."""
    imported = importlib.import_module(f"ansible_collections.dbaudit.dbaudit.plugins.modules.{module}")
    output = io.StringIO()
    with (
        patch_module_args(arguments),
        contextlib.redirect_stdout(output),
        pytest.raises(SystemExit) as stopped,
    ):
        imported.main()
    result: dict[str, Any] = json.loads(output.getvalue())
    assert bool(stopped.value.code) is result.get("failed", False)
    return result


def run_playbook(
    playbook: str | Path,
    collections_path: Path,
    *options: str,
    environment: dict[str, str] | None = None,
    programs: Path = PROGRAMS,
) -> subprocess.CompletedProcess[str]:
    """The playbook's run, both outputs in ``stdout``. ``playbook`` may be one of the collection's names.

    :param programs: the folder of ansible-playbook and its like.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "DBAUDIT"))
    }
    return subprocess.run(
        [programs / "ansible-playbook", str(playbook), *options],
        env={
            **inherited,
            "PATH": os.pathsep.join((str(programs), inherited["PATH"])),
            "ANSIBLE_COLLECTIONS_PATH": str(collections_path),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            **(environment or {}),
        },
        cwd=collections_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
