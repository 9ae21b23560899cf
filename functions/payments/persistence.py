"""Powertools' memory of payments that were booked, in the same SQLite file. On AWS this is a DynamoDB table."""

from __future__ import annotations

import time
from contextlib import closing

from accounts import connect
from aws_lambda_powertools.utilities.idempotency import BasePersistenceLayer
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
)
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord

TAKE = """
INSERT INTO idempotency VALUES (:id, :status, :expiry, :in_progress_expiry, NULL, :validation)
ON CONFLICT (id) DO UPDATE SET
    status = excluded.status, expiry = excluded.expiry, in_progress_expiry = excluded.in_progress_expiry, data = NULL
WHERE expiry < :now OR (status = 'INPROGRESS' AND in_progress_expiry < :now * 1000)
"""
"""Take a key that is free, expired, or held by an attempt that was cut off."""


class SQLitePersistenceLayer(BasePersistenceLayer):
    """Four statements that Powertools asks for."""

    def _get_record(self, idempotency_key: str) -> DataRecord:
        with closing(connect()) as connection:
            row = connection.execute("SELECT * FROM idempotency WHERE id = ?", (idempotency_key,)).fetchone()
        if row is None:
            raise IdempotencyItemNotFoundError
        key, status, expiry, in_progress_expiry, data, validation = row
        return DataRecord(
            idempotency_key=key,
            status=status,
            expiry_timestamp=expiry,
            in_progress_expiry_timestamp=in_progress_expiry,
            response_data=data or "",
            payload_hash=validation or "",
        )

    def _put_record(self, data_record: DataRecord) -> None:
        values = {
            "id": data_record.idempotency_key,
            "status": data_record.status,
            "expiry": data_record.expiry_timestamp,
            "in_progress_expiry": data_record.in_progress_expiry_timestamp,
            "validation": data_record.payload_hash,
            "now": int(time.time()),
        }
        with closing(connect()) as connection:
            if not connection.execute(TAKE, values).rowcount:
                raise IdempotencyItemAlreadyExistsError

    def _update_record(self, data_record: DataRecord) -> None:
        values = (
            data_record.status,
            data_record.expiry_timestamp,
            data_record.response_data,
            data_record.idempotency_key,
        )
        with closing(connect()) as connection:
            connection.execute("UPDATE idempotency SET status = ?, expiry = ?, data = ? WHERE id = ?", values)

    def _delete_record(self, data_record: DataRecord) -> None:
        with closing(connect()) as connection:
            connection.execute("DELETE FROM idempotency WHERE id = ?", (data_record.idempotency_key,))
