"""User lists as objects in Amazon S3, or in any store that speaks its protocol: the whole list, or with `changes` objects of changes.

| mode | object | columns |
|---|---|---|
| whole list | `path` | address, user_id, email, then the traits asked for |
| changes | `path` with the generation and the batch before its suffix | message_id, change (add or remove), address, then the fields |

An object is always whole. Those of one generation may be read in any order, since each address is in it once; generations are read in
the order of their numbers. The same batch makes the same object again; a batch that was cut in another way after an interruption may hold
a row that is in another object too, under the same message_id. Above 16 MB an object goes up in parts, of which nothing is seen before
the last. The keys need the rights s3:PutObject and s3:AbortMultipartUpload.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html and .../API_CreateMultipartUpload.html (November 2026)
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from html import escape, unescape
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal, cast
from urllib.parse import quote

from pydantic import Field, SecretStr

from engage_pipelines.destinations.api import TEST_DEADLINE_S, Endpoint, failure
from engage_pipelines.destinations.base import (
    Accepted,
    Backoff,
    ListRow,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
    refuse_oversize,
)
from engage_pipelines.destinations.csv_file import CsvFile, CsvSettings
from engage_pipelines.destinations.files import (
    CHANGE_COLUMNS,
    LIST_COLUMNS,
    Chunks,
    FileDestination,
    Row,
    cell,
    in_order,
    rows_of_changes,
)
from engage_pipelines.destinations.http import Answer, Reach, Request, presentable
from engage_pipelines.destinations.parquet_file import ParquetFile
from engage_pipelines.destinations.s3_columns import columns_from_segment
from engage_pipelines.destinations.sending.aws_signature import Keys, encoded_path, signed
from engage_pipelines.destinations.sending.filesystem import filled

PART_BYTES = 16_000_000
REQUEST_S = 60.0
"""For each request about a whole list, which has no deadline of its own."""

_FORMATS: dict[str, FileDestination] = {"csv": CsvFile(), "parquet": ParquetFile()}


class S3Settings(CsvSettings):
    """Which object, where, and who writes it."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="The bucket.")
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$", description="The bucket's region.")
    endpoint: Endpoint | None = Field(None, description="Address of another store than Amazon's, such as https://minio.example.com.")
    access_key_id: SecretStr = Field(min_length=1, description="Access key id; a reference, so that both change together.")
    secret_access_key: SecretStr = Field(min_length=1, description="Secret access key.")
    session_token: SecretStr | None = Field(None, description="Session token, for keys that expire.")
    format: Literal["csv", "parquet"] = Field("csv", description="What the objects are.")

    def url(self, path: str) -> str:
        """The address of an object: by the bucket's own host at Amazon, by path elsewhere."""
        if self.endpoint is None and "." not in self.bucket:
            return f"https://{self.bucket}.s3.{self.region}.amazonaws.com/{encoded_path(path)}"
        host = self.endpoint or f"https://s3.{self.region}.amazonaws.com"
        return f"{host}/{self.bucket}/{encoded_path(path)}"

    @property
    def keys(self) -> Keys:
        """Who signs."""
        token = self.session_token.get_secret_value() if self.session_token else None
        return Keys(self.access_key_id.get_secret_value(), self.secret_access_key.get_secret_value(), self.region, token)


class S3(FileDestination):
    """Objects in a bucket."""

    key = "s3"
    name = "S3"
    description = "Keeps the audience as an object in S3 or a store that speaks its protocol, whole or as objects of changes."
    docs_url = "docs/destinations.md#s3"
    segment_slugs = ("s3", "actions-s3", "aws-s3", "actions-s3-csv")
    segment_actions = (("syncToS3", "write"), ("syncAudienceToCSV", "write"))
    segment_fields_that_are_settings = ("s3_aws_folder_name", "filename_prefix", "filename", "file_extension")
    settings_model = S3Settings

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        folder = str(values.get("s3_aws_folder_name") or "").strip("/")
        start, end = values.get("filename_prefix") or values.get("filename") or "", values.get("file_extension") or "csv"
        ours = {"bucket": values.get("s3_aws_bucket_name"), "region": values.get("s3_aws_region")}
        place = {"path": f"{folder}/{start}{{audience}}.{end}".lstrip("/"), "changes": True}
        return {**{name: value for name, value in ours.items() if value}, **place}

    def fields_from_segment(self, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[str]]:
        columns, notes = columns_from_segment(fields)
        return columns, ["it needs keys that may write to the bucket: Segment's writes under a role that trusts Segment", *notes]

    def write_table(self, file: IO[bytes], columns: Sequence[str], chunks: Chunks, settings: Settings) -> None:
        _FORMATS[_mine(settings).format].write_table(file, columns, chunks, settings)

    def read_table(self, file: IO[bytes]) -> tuple[list[str], Chunks]:
        raise NotImplementedError("objects are written, never read")

    def external_target(self, settings: Settings, target: Target) -> str | None:
        mine = _mine(settings)
        return f"s3 {mine.endpoint or mine.region}/{mine.bucket}/{filled(mine.path, target)}"

    def write_list(self, rows: Iterator[Sequence[ListRow]], *, settings: Settings, target: Target) -> Verdict:
        mine = _mine(settings)
        columns = (*LIST_COLUMNS, *mine.traits)
        members = ([_cells(row, mine.traits) for row in chunk] for chunk in rows)
        verdict = self._put_table(str(filled(mine.path, target)), columns, members, _Store(mine, None))
        return presentable(verdict, (), mine.secret_values())

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        if not records:
            return Accepted()
        too_much = refuse_oversize(records, self.limits)
        if too_much is not None:
            return too_much
        store = _Store(_mine(settings), time.monotonic() + deadline_s)
        rows, rejected = rows_of_changes(records)
        verdict: Verdict = self._put_changes(rows, store, target) if rows else Accepted()
        return presentable(Accepted(rejected) if isinstance(verdict, Accepted) else verdict, records, store.settings.secret_values())

    def test(self, settings: Settings) -> Verdict:
        """An upload is begun and given up: that takes the right to write, and leaves nothing."""
        store = _Store(_mine(settings), time.monotonic() + TEST_DEADLINE_S)
        begun = store.begin("engage-test")
        verdict = store.give_up("engage-test", begun) if isinstance(begun, str) else begun
        return presentable(verdict, (), store.settings.secret_values())

    def _put_changes(self, rows: Mapping[str, Mapping[str, str | None]], store: "_Store", target: Target) -> Verdict:
        columns = list(dict.fromkeys((*CHANGE_COLUMNS, *(name for row in rows.values() for name in row))))
        batch = sha256("\n".join(rows).encode()).hexdigest()[:16]
        whole = filled(store.settings.path, target)
        path = whole.with_name(f"{whole.stem}.{target.generation:012d}.{batch}{whole.suffix}")
        return self._put_table(str(path), columns, iter([[in_order(row, columns) for row in rows.values()]]), store)

    def _put_table(self, path: str, columns: Sequence[str], chunks: Chunks, store: "_Store") -> Verdict:
        with SpooledTemporaryFile(max_size=2 * PART_BYTES) as file:
            content = cast(IO[bytes], file)
            self.write_table(content, columns, chunks, store.settings)
            size = content.tell()
            content.seek(0)
            return store.put(path, content.read()) if size <= PART_BYTES else store.put_in_parts(path, content)


@dataclass(frozen=True, slots=True)
class _Store:
    """The bucket; `until` is when everything must be over on the monotonic clock, None where each request has its own time."""

    settings: S3Settings
    until: float | None

    def put(self, path: str, content: bytes) -> Verdict:
        """Put an object in place."""
        answer = self._ask("PUT", path, content)
        return _failed(answer) or Accepted()

    def put_in_parts(self, path: str, content: IO[bytes]) -> Verdict:
        """Put a large object in place; what went wrong on the way is given up, and nothing of it is seen."""
        upload = self.begin(path)
        if not isinstance(upload, str):
            return upload
        tags: list[str] = []
        while part := content.read(PART_BYTES):
            answer = self._ask("PUT", path, part, f"partNumber={len(tags) + 1}&uploadId={quote(upload, safe='')}")
            failed = _failed(answer)
            if failed is not None:
                self.give_up(path, upload)
                return failed
            tags.append(answer.headers.get("etag", "") if isinstance(answer, Answer) else "")
        parts = "".join(f"<Part><PartNumber>{at}</PartNumber><ETag>{escape(tag)}</ETag></Part>" for at, tag in enumerate(tags, start=1))
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self._ask("POST", path, body, f"uploadId={quote(upload, safe='')}")
        return _failed(answer) or Accepted()

    def begin(self, path: str) -> str | Verdict:
        """The id of an upload in parts."""
        answer = self._ask("POST", path, b"", "uploads=")
        failed = _failed(answer)
        if failed is not None:
            return failed
        assert isinstance(answer, Answer)
        found = re.search(rb"<UploadId>([^<]+)</UploadId>", answer.body)
        return unescape(found[1].decode()) if found else Backoff(f"{answer.place} began no upload, and does not say why")

    def give_up(self, path: str, upload: str) -> Verdict:
        """Leave nothing of an upload."""
        answer = self._ask("DELETE", path, b"", f"uploadId={quote(upload, safe='')}")
        return _failed(answer) or Accepted()

    def _ask(self, method: str, path: str, body: bytes, query: str = "") -> Answer | Verdict:
        from engage_pipelines.destinations.sending.transport import perform  # noqa: PLC0415 (most commands send nothing)

        url = self.settings.url(path) + (f"?{query}" if query else "")
        now_s = time.time()
        request = signed(Request(url, body, {}, method), self.settings.keys, now_s)
        left_s = REQUEST_S if self.until is None else max(self.until - time.monotonic(), 0.001)
        answer = perform(request, deadline_s=left_s, reach=Reach.ANYWHERE)
        return replace(answer, place=request.place, at_s=now_s) if isinstance(answer, Answer) else answer


def _failed(answer: Answer | Verdict) -> Verdict | None:
    """The verdict when it is no success, with the store's code; what says 200 may turn out to be none in its body."""
    if not isinstance(answer, Answer):
        return answer
    found = re.search(rb"<Error>.*?<Code>(\w+)</Code>", answer.body, re.DOTALL)
    code = found[1].decode() if found else ""
    failed = failure(answer, 0)
    if failed is None:
        return Backoff(f"{answer.place} could not finish: {code}") if code else None
    if isinstance(failed, Stop) and code:
        return Stop(f"{failed.reason} It says: {code}", _REMEDIES.get(code, failed.remedy))
    return failed


_REMEDIES = {
    "NoSuchBucket": "Make the bucket, or name another one in the settings.",
    "PermanentRedirect": "Set the bucket's own region in the settings.",
    "AuthorizationHeaderMalformed": "Set the bucket's own region in the settings.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "AccessDenied": "Give the keys the rights s3:PutObject and s3:AbortMultipartUpload on this path of the bucket.",
}


def _cells(row: ListRow, traits: Sequence[str]) -> Row:
    return [row.address, row.user_id, row.email, *(cell(row.traits.get(trait)) for trait in traits)]


def _mine(settings: Settings) -> S3Settings:
    assert isinstance(settings, S3Settings)
    return settings
