"""The secrets of the state: always encrypted, found by the id of the record that they belong to."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from sqlalchemy import Connection, delete, func, insert, select, text, update

from dbaudit.core.clock import now_us
from dbaudit.core.errors import ConfigurationError, ErrorCode, RequestError
from dbaudit.core.secret import Secret
from dbaudit.state.backend import Backend
from dbaudit.state.encryption import Encrypted, Keyring, add_key, retire_keys
from dbaudit.state.own_events import Act, Action, Deed, changing, differing, record
from dbaudit.state.schema import secrets, settings

_ACTIVE_KEY = "encryption.active_key"
_ROTATION_BATCH = 500
_LOOKUP_BATCH = 500


class SecretStore:
    """Stores and finds secrets in the caller's transaction, and re-encrypts them in its own."""

    def __init__(self, backend: Backend, keyring: Keyring) -> None:
        self._backend = backend
        self._keyring = keyring

    def put(self, connection: Connection, record_id: str, value: Secret | bytes) -> None:
        """Store or replace the secret of ``record_id``."""
        plain = value.reveal().encode() if isinstance(value, Secret) else value
        encrypted = self._keyring.encrypt(plain, record_id, _active_key(connection, self._keyring))
        connection.execute(delete(secrets).where(secrets.c.record_id == record_id))
        connection.execute(insert(secrets).values(record_id=record_id, **_columns(encrypted)))

    def get(self, connection: Connection, record_id: str) -> Secret | None:
        """The secret of ``record_id``; None when there is none."""
        row = connection.execute(
            select(secrets.c.key_id, secrets.c.nonce, secrets.c.ciphertext).where(
                secrets.c.record_id == record_id
            )
        ).one_or_none()
        return None if row is None else Secret(self._keyring.decrypt(Encrypted(*row), record_id).decode())

    def get_many(self, connection: Connection, record_ids: Sequence[str]) -> dict[str, Secret]:
        """The secrets of those of ``record_ids`` that have one."""
        found = {}
        for start in range(0, len(record_ids), _LOOKUP_BATCH):
            some = record_ids[start : start + _LOOKUP_BATCH]
            for row in connection.execute(select(secrets).where(secrets.c.record_id.in_(some))):
                encrypted = Encrypted(row.key_id, row.nonce, row.ciphertext)
                found[row.record_id] = Secret(self._keyring.decrypt(encrypted, row.record_id).decode())
        return found

    def get_bytes(self, connection: Connection, record_id: str) -> bytes | None:
        """The bytes stored under ``record_id``; None when there are none."""
        row = connection.execute(
            select(secrets.c.key_id, secrets.c.nonce, secrets.c.ciphertext).where(
                secrets.c.record_id == record_id
            )
        ).one_or_none()
        return None if row is None else self._keyring.decrypt(Encrypted(*row), record_id)

    def remove(self, connection: Connection, *record_ids: str) -> None:
        """Forget the secrets of these records."""
        connection.execute(delete(secrets).where(secrets.c.record_id.in_(record_ids)))

    def rotate(self, act: Act | None = None) -> Generator[tuple[int, int], None, None]:
        """Re-encrypt every secret with a new key, and then retire the old ones; other processes keep working.

        Yields (done, total) after each batch. With a key file the new key is made here; otherwise it is the
        first one of the variable or command. Which key encrypts is written in the state itself, so that a
        process that still knows the old one cannot use it any more. Of two rotations at a time the later one
        does the work, and the earlier one raises RequestError (`conflict`). One that was interrupted is
        completed by the next one.
        """
        key_id, total = self._begin_rotation(act)
        done = 0
        yield done, total
        while moved := self._rotate_some(key_id):
            done += moved
            yield done, max(total, done)
        self._end_rotation(key_id)

    def _begin_rotation(self, act: Act | None) -> tuple[str, int]:
        with changing(self._backend) as connection:
            self._backend.serialize(connection, "rotation")
            before = _active_key(connection, self._keyring)
            if self._keyring.file is not None:
                add_key(self._keyring.file)
            self._keyring.reload()
            key_id = self._keyring.active_id
            if key_id == before:
                raise ConfigurationError(
                    ErrorCode.ENCRYPTION_KEY_INVALID,
                    "There is no new encryption key to rotate to.",
                    remedy="Put a new key before the one in use (variable or command) and run this again.",
                )
            # Update in place: a transaction that waits for this row, to encrypt, has to find it again.
            connection.execute(
                update(settings)
                .where(settings.c.key == _ACTIVE_KEY)
                .values(value=key_id, updated_at_us=now_us())
            )
            total = connection.execute(
                select(func.count()).select_from(secrets).where(secrets.c.key_id != key_id)
            ).scalar_one()
            keys = differing({"key_id": before}, {"key_id": key_id})
            record(connection, act, Deed(action=Action.CHANGED, rows=total, detail=keys))
        return key_id, total

    def _rotate_some(self, key_id: str) -> int:
        """Re-encrypt some secrets; 0 when none is left."""
        old = select(secrets).where(secrets.c.key_id != key_id)
        with self._backend.writing() as connection:
            _refuse_other_rotation(connection, self._keyring, key_id)
            # Rows that another transaction is changing are skipped; waiting with locks held could deadlock.
            rows = connection.execute(old.limit(_ROTATION_BATCH).with_for_update(skip_locked=True)).all()
            if not rows:
                rows = connection.execute(old.limit(1).with_for_update()).all()
            for row in rows:
                plain = self._keyring.decrypt(Encrypted(row.key_id, row.nonce, row.ciphertext), row.record_id)
                connection.execute(
                    update(secrets)
                    .where(secrets.c.record_id == row.record_id)
                    .values(**_columns(self._keyring.encrypt(plain, row.record_id, key_id)))
                )
        return len(rows)

    def _end_rotation(self, key_id: str) -> None:
        if self._keyring.file is None:
            return
        with self._backend.writing() as connection:
            self._backend.serialize(connection, "rotation")
            _refuse_other_rotation(connection, self._keyring, key_id)
            retire_keys(self._keyring.file, key_id)
            self._keyring.reload()


def _columns(encrypted: Encrypted) -> dict[str, str | bytes]:
    return {"key_id": encrypted.key_id, "nonce": encrypted.nonce, "ciphertext": encrypted.ciphertext}


def _active_key(connection: Connection, keyring: Keyring) -> str:
    """The key that encrypts; it stays so until the transaction ends."""
    query = select(settings.c.value).where(settings.c.key == _ACTIVE_KEY).with_for_update(read=True)
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        connection.execute(
            text(
                "INSERT INTO settings (key, value, updated_at_us) VALUES (:k, :v, :t) ON CONFLICT DO NOTHING"
            ),
            {"k": _ACTIVE_KEY, "v": keyring.active_id, "t": now_us()},
        )
        found = connection.execute(query).scalar_one()
    return str(found)


def _refuse_other_rotation(connection: Connection, keyring: Keyring, key_id: str) -> None:
    if _active_key(connection, keyring) != key_id:
        raise RequestError(ErrorCode.CONFLICT, "Another rotation of the keys has begun, and does the rest.")
