"""OpenAI's Files and Batch APIs over HTTP, as far as batches of completions go. Knows no runs."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from batchroute.input.row import Refusal
from batchroute.input.text import Replaced, without_lone_surrogates
from batchroute.serve.app import json_response
from batchroute.serve.batch.batches import ENDPOINT, WINDOW
from batchroute.serve.batch.files import LARGEST_FILE, ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.serve.batch.batches import Batch, BatchStore
    from batchroute.serve.batch.files import FileObject, FileStore
    from batchroute.serve.batch.queue import BatchQueue

PIECE_BYTES = 1 << 20
PURPOSES = ("batch",)
MOST_LISTED = 100
LONGEST_NAME = 255


class BatchRequest(msgspec.Struct):
    """The body of POST /v1/batches."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class BatchApi:
    """Handlers; everything that touches a file runs in a thread."""

    files: FileStore
    batches: BatchStore
    queue: BatchQueue

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/files", self.upload),
            web.get("/v1/files", self.list_files),
            web.get("/v1/files/{id}", self.file),
            web.get("/v1/files/{id}/content", self.content),
            web.delete("/v1/files/{id}", self.delete_file),
            web.post("/v1/batches", self.create),
            web.get("/v1/batches", self.list_batches),
            web.get("/v1/batches/{id}", self.batch),
            web.post("/v1/batches/{id}/cancel", self.cancel),
        ]

    async def upload(self, request: web.Request) -> web.Response:
        """POST /v1/files, as a form with `file` and `purpose`."""
        room = min(LARGEST_FILE, await asyncio.to_thread(self.files.room))
        file_id, written = await asyncio.to_thread(self.files.begin)
        try:
            filename, purpose = await self._receive(request, written, room)
        except BaseException:
            await asyncio.to_thread(self.files.drop, file_id, written)
            raise
        stored = await asyncio.to_thread(self.files.finish, file_id, written, filename, purpose)
        return json_response(stored)

    async def _receive(self, request: web.Request, written: Any, room: int) -> tuple[str, str]:
        """Writes the form's file, up to `room` bytes; returns its name and purpose."""
        found: dict[str, str] = {}
        try:
            parts = await request.multipart()
            while (part := await parts.next()) is not None:
                if not isinstance(part, BodyPartReader):
                    raise Refusal("the form holds a form")
                if part.name == "file":
                    found["file"] = without_lone_surrogates(part.filename or "", Replaced())[:LONGEST_NAME]
                    await _store(part, written, room)
                elif part.name == "purpose":
                    found["purpose"] = (await part.read_chunk(LONGEST_NAME)).decode("utf-8", "replace")
        except (ValueError, HttpProcessingError) as error:
            raise Refusal(f"the form cannot be read: {error}") from error
        if "file" not in found or found.get("purpose") not in PURPOSES:
            raise Refusal("a form with `file` and `purpose` = batch is wanted")
        return found["file"], found["purpose"]

    async def list_files(self, request: web.Request) -> web.Response:
        """GET /v1/files."""
        return _listed(request, await asyncio.to_thread(self.files.listed))

    async def file(self, request: web.Request) -> web.Response:
        """GET /v1/files/{id}."""
        return json_response(await asyncio.to_thread(self.files.get, request.match_info["id"]))

    async def content(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/files/{id}/content."""
        found = await asyncio.to_thread(self.files.get, request.match_info["id"])
        return web.FileResponse(
            self.files.path(found.id), headers={"Content-Type": "application/octet-stream"}, chunk_size=PIECE_BYTES
        )

    async def delete_file(self, request: web.Request) -> web.Response:
        """DELETE /v1/files/{id}; the run of a finished batch is deleted with its results."""
        file_id = request.match_info["id"]
        found = await asyncio.to_thread(self.files.get, file_id)
        await asyncio.to_thread(self.batches.forget_file, found.id)
        await asyncio.to_thread(self.files.delete, found.id)
        return json_response({"id": found.id, "object": "file", "deleted": True})

    async def create(self, request: web.Request) -> web.Response:
        """POST /v1/batches."""
        wanted = _read_request(await request.read())
        found = await asyncio.to_thread(self.files.get, wanted.input_file_id)
        if found.purpose not in PURPOSES:
            raise Refusal(f"{found.id} was not uploaded with purpose = batch")
        if found.bytes > await asyncio.to_thread(self.files.room):
            raise ApiError(507, "the server's disk space is used up; delete files", "no_room")
        batch = await asyncio.to_thread(self.batches.create, found.id, wanted.metadata, int(time.time()))
        self.queue.review()
        return json_response(batch)

    async def list_batches(self, request: web.Request) -> web.Response:
        """GET /v1/batches."""
        return _listed(request, await asyncio.to_thread(self.batches.listed))

    async def batch(self, request: web.Request) -> web.Response:
        """GET /v1/batches/{id}."""
        return json_response(await asyncio.to_thread(self.batches.get, request.match_info["id"]))

    async def cancel(self, request: web.Request) -> web.Response:
        """POST /v1/batches/{id}/cancel."""
        batch_id = request.match_info["id"]
        await asyncio.to_thread(self.batches.request_cancel, batch_id, int(time.time()))
        self.queue.review()
        return json_response(await asyncio.to_thread(self.batches.get, batch_id))


async def _store(part: BodyPartReader, written: Any, room: int) -> None:
    size = 0
    while piece := await part.read_chunk(PIECE_BYTES):
        size += len(piece)
        if size > room:
            raise ApiError(413, f"the file is larger than the {max(room, 0)} bytes there is room for", "no_room")
        await asyncio.to_thread(written.write, piece)


def _read_request(body: bytes) -> BatchRequest:
    try:
        wanted = msgspec.json.decode(body, type=BatchRequest)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the body is no batch: {error}") from error
    if wanted.endpoint != ENDPOINT or wanted.completion_window != WINDOW:
        raise Refusal(f"endpoint must be {ENDPOINT} and completion_window {WINDOW}")
    return wanted


def _listed(request: web.Request, newest_first: Sequence[FileObject | Batch]) -> web.Response:
    """A page of a list, beginning behind the id `after`."""
    limit, after = request.query.get("limit", "20"), request.query.get("after")
    if re.fullmatch(r"[0-9]{1,5}", limit) is None or not 1 <= int(limit) <= 10_000:
        raise Refusal("limit is no number from 1 to 10000")
    ids = [entry.id for entry in newest_first]
    start = ids.index(after) + 1 if after in ids else 0
    page = newest_first[start : start + min(int(limit), MOST_LISTED)]
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    more = start + len(page) < len(ids)
    return json_response({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more})
