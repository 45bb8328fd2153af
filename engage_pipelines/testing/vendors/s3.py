"""A fake store that speaks S3's protocol: objects of one bucket, signatures that are checked, uploads in parts, ranges for readers."""

import csv
import hashlib
import hmac
import io
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from engage_pipelines.destinations.sending.aws_signature import Keys, authorization
from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, sent_query

BUCKET = "lists-of-ours"
KEYS = Keys("THE-KEY-ID", "the-secret-access-key", "eu-north-1")


class Fake(FakeApi):
    """Objects by path."""

    secrets = ("the-secret-access-key",)

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.bucket = BUCKET

    def settings(self, url: str) -> Mapping[str, object]:
        keys = {"access_key_id": KEYS.access_key_id, "secret_access_key": KEYS.secret_access_key, "region": KEYS.region}
        return {**keys, "bucket": BUCKET, "endpoint": url, "path": "{space}/{audience}.csv", "changes": True}

    def unauthorised(self) -> Reply:
        return _error(403, "SignatureDoesNotMatch")

    def refuse(self, user_id: str) -> bool:
        return False

    def respond(self, request: Received) -> Reply:
        bucket, _, key = unquote(urlsplit(request.path).path)[1:].partition("/")
        if not self._is_signed(request):
            return self.unauthorised()
        if bucket != self.bucket:
            return _error(404, "NoSuchBucket")
        if "uploads" in sent_query(request) or "uploadId" in sent_query(request):
            return self._upload(request, key)
        if request.method == "PUT":
            self.objects[key] = request.body
            return Reply(200, b"", {"ETag": _tag(request.body)})
        return self._read(request, key)

    def _is_signed(self, request: Received) -> bool:
        """Over the headers that the caller names, as S3 does it."""
        said = request.headers.get("authorization", "")
        names = said.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
            return False
        headers = {name: request.headers.get(name, "") for name in names}
        same_body = headers["x-amz-content-sha256"] in {hashlib.sha256(request.body).hexdigest(), "UNSIGNED-PAYLOAD"}
        wanted = authorization(request.method, f"http://{headers['host']}{request.path}", headers, KEYS)
        return same_body and hmac.compare_digest(wanted, said)

    def _upload(self, request: Received, key: str) -> Reply:
        asked = sent_query(request)
        if "uploads" in asked:
            upload = f"upload-{len(self.uploads) + 1}&more"
            self.uploads[upload] = {}
            shown = upload.replace("&", "&amp;").encode()
            return _xml(b"<InitiateMultipartUploadResult><UploadId>" + shown + b"</UploadId></InitiateMultipartUploadResult>")
        parts = self.uploads.get(asked["uploadId"])
        if parts is None:
            return _error(404, "NoSuchUpload")
        if request.method == "PUT":
            parts[int(asked["partNumber"])] = request.body
            return Reply(200, b"", {"ETag": _tag(request.body)})
        del self.uploads[asked["uploadId"]]
        if request.method == "POST":
            self.objects[key] = b"".join(parts[number] for number in sorted(parts))
            return _xml(b"<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
        return Reply(204, b"")

    def _read(self, request: Received, key: str) -> Reply:
        content = self.objects.get(key)
        if content is None:
            return _error(404, "NoSuchKey")
        start, _, end = request.headers.get("range", "").removeprefix("bytes=").partition("-")
        if not start:
            return Reply(200, content, {"ETag": _tag(content)})
        part = content[int(start) : int(end) + 1 if end else None]
        shown = f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}"
        return Reply(206, part, {"ETag": _tag(content), "Content-Range": shown})

    def held(self) -> Mapping[str, bool]:
        """Who is on the list, for somebody who reads the CSV objects in the order of their generations."""
        members: dict[str, bool] = {}
        for _, content in sorted(self.objects.items()):
            for row in csv.DictReader(io.StringIO(content.decode(), newline="")):
                who = row["address"].removeprefix("user_id:")
                members.pop(who, None)
                if row.get("change", "add") == "add":
                    members[who] = True
        return members


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _xml(body: bytes) -> Reply:
    return Reply(200, body, {"Content-Type": "application/xml"})


def _error(status: int, code: str) -> Reply:
    return Reply(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), {"Content-Type": "application/xml"})
