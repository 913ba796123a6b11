# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  action_group:
    description: Use C(group/dbaudit.dbaudit.dbaudit) in C(module_defaults) to set the options of the connection for all modules at once.
    support: full
    membership:
      - dbaudit.dbaudit.dbaudit
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
"""

    # For modules that only read.
    INFO = r"""
attributes:
  action_group:
    description: Use C(group/dbaudit.dbaudit.dbaudit) in C(module_defaults) to set the options of the connection for all modules at once.
    support: full
    membership:
      - dbaudit.dbaudit.dbaudit
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - This module changes nothing.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
    details:
      - This module changes nothing.
"""
