"""The records that are read and make no event, counted by their class."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("collectors", sa.Column("left_out", sa.Text()))
