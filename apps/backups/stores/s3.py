"""An S3-compatible bucket as a store: own multipart loop, checksums on both sides, a lock where the bucket has one."""

from datetime import datetime
from typing import IO

from apps.backups.facts import Checkup, Stored
from apps.backups.stores.base import Progress
from apps.backups.stores.keys import checked
from apps.backups.stores.s3_bucket import Bucket
from apps.backups.stores.s3_check import check
from apps.backups.stores.s3_upload import Upload


class S3Store(Bucket):
    """The adapter: a bucket that can also be tested and written to."""

    def check(self) -> Checkup:
        """See `s3_check.check`."""
        self._guard()
        self._client = self.connect(signed=True, tries=2)  # somebody waits for the answer
        return check(self, public_confirmed=bool(self._config.get("public_confirmed")))

    def put(self, key: str, stream: IO[bytes], *, progress: Progress, until: datetime | None = None) -> Stored:
        """See `s3_upload.Upload`: parts with checksums, compared with what the store holds; aborted when it raises."""
        checked(key)
        return Upload(self, key, progress, until if until is not None and self.has_lock else None).run(stream)
