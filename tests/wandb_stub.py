"""A W&B server for tests on 127.0.0.1, of the standard library alone; checked with wandb 0.31.

    with WandbStub() as stub:  # and WANDB_BASE_URL=stub.url, WANDB_API_KEY of 40 characters
        ...
        stub.run("run-id").history

It answers the GraphQL operations that a run makes; whatever it does not know gets `{"data": {}}`, which wandb accepts.
`stub.fail = 500` makes every request fail with that status. The protocol is private to wandb and may change.
"""

import gzip
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass
class RunPage:
    """What the server knows of one run."""

    entity: str
    project: str
    id: str
    config: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)  # groupName, jobType, displayName, tags, ...
    stream: dict[str, dict[int, str]] = field(default_factory=dict)  # file -> number of the line -> line
    starts: int = 0
    exit_code: int | None = None

    def lines(self, name: str) -> list[str]:
        return [line for _, line in sorted(self.stream.get(name, {}).items())]

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines("wandb-history.jsonl")]

    def rows(self) -> list[dict[str, Any]]:
        """The history in JSON, which has no NaN."""
        return [json.loads(line, parse_constant=str) for line in self.lines("wandb-history.jsonl")]

    def bucket(self) -> dict[str, Any]:
        return {
            "id": f"id-{self.id}", "name": self.id, "displayName": self.meta.get("displayName") or self.id,
            "config": json.dumps(self.config), "historyLineCount": len(self.history),
            "project": {"id": "p", "name": self.project, "entity": {"id": "e", "name": self.entity}},
        }  # fmt: skip

    def resume(self) -> dict[str, Any]:
        last = {name: self.lines(f"wandb-{name}")[-1:] for name in ("history.jsonl", "events.jsonl", "summary.json")}
        return self.bucket() | {
            "summaryMetrics": "".join(last["summary.json"]) or "{}", "tags": self.meta.get("tags") or [],
            "historyTail": json.dumps(last["history.jsonl"]), "eventsTail": json.dumps(last["events.jsonl"]),
            "eventsLineCount": len(self.lines("wandb-events.jsonl")), "logLineCount": len(self.lines("output.log")),
            "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip


class WandbStub:
    """The server; `errors` must be empty at the end of a test."""

    def __init__(self) -> None:
        self.fail, self.lock = 0, threading.RLock()
        self.runs: dict[str, RunPage] = {}
        self.errors: list[str] = []
        self.alerts: list[dict] = []
        self.reports: list[dict] = []  # as saved, with the runs that were there at that time
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Request,), {"stub": self}))
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # wandb drops its connections when it exits
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "WandbStub":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def run(self, id: str, entity: str | None = None, project: str | None = None) -> RunPage:
        return self.runs.setdefault(id, RunPage(entity or "stub", project or "uncategorized", id))

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        named = re.search(r"(?:mutation|query)\s+(\w+)", query)
        answer = getattr(self, f"answer_{named[1]}" if named else "", None)
        return answer(variables) if answer else {}

    def answer_Viewer(self, v: dict) -> dict:
        return {"viewer": {"id": "u", "entity": "stub", "username": "stub", "email": "", "flags": "{}",
                           "teams": {"edges": []}}}  # fmt: skip

    def answer_ServerFeaturesQuery(self, v: dict) -> dict:
        return {"serverInfo": {"features": []}}

    def answer_UpsertBucket(self, v: dict) -> dict:
        run = self.run(v["name"] or v["id"].removeprefix("id-"), v.get("entity"), v.get("project"))
        run.config.update(json.loads(v["config"]) if v.get("config") else {})
        run.meta.update({k: x for k, x in v.items() if x is not None and k not in ("config", "summaryMetrics")})
        run.starts += 1
        return {"upsertBucket": {"bucket": run.bucket(), "inserted": run.starts == 1}}

    def answer_RunResumeStatus(self, v: dict) -> dict:
        run = self.runs.get(v["name"])
        model = {"id": "p", "name": v["project"], "entity": {"id": "e", "name": "stub"}}
        return {"model": run and model | {"bucket": run.resume()}}

    def answer_GetDefaultEntity(self, v: dict) -> dict:
        return self.answer_Viewer(v)

    def answer_Run(self, v: dict) -> dict:
        run = self.runs[v["name"]]
        facts = run.bucket() | {
            "projectId": "1", "state": "finished", "historyKeys": {"lastStep": len(run.history) - 1},
            "systemMetrics": "{}", "summaryMetrics": "{}", "user": {"name": "stub", "username": "stub"},
        }  # fmt: skip
        return {"project": {"run": facts}}

    def answer_NotifyScriptableRunAlert(self, v: dict) -> dict:
        self.alerts.append(v)
        return {"notifyScriptableRunAlert": {"success": True}}

    answer_RunHistoryKeys = answer_Run

    def answer_RunParquetHistory(self, v: dict) -> dict:
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": self.runs[v["runName"]].rows()}}}}

    def answer_HistoryPage(self, v: dict) -> dict:
        rows = self.runs[v["run"]].rows()[v["minStep"] : v["maxStep"]]
        return {"project": {"run": {"history": [json.dumps(row) for row in rows]}}}

    def answer_Runs(self, v: dict) -> dict:
        asked = json.loads(v["filters"])["name"]["$in"]
        found = [run for run in self.runs.values() if (run.entity, run.project) == (v["entity"], v["project"])]
        edges = [{"node": run.bucket() | {"projectId": "1"}, "cursor": run.id} for run in found if run.id in asked]
        runs = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"internalId": "1", "runCount": len(edges), "runs": runs} if found else None}

    def answer_GetProjects(self, v: dict) -> dict:
        user = {"id": "u", "name": "stub", "username": "stub", "email": "", "admin": False, "flags": "{}",
                "entity": "stub", "deletedAt": None, "apiKeys": None, "teams": None}  # fmt: skip
        edges = [
            {"node": {"__typename": "Project", "id": name, "name": name, "entityName": v["entity"], "user": user,
                      "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False}}
            for name in sorted({run.project for run in self.runs.values() if run.entity == v["entity"]})
        ]  # fmt: skip
        info = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": info, "edges": edges}}

    def answer_ProjectInternalId(self, v: dict) -> dict:
        known = {(run.entity, run.project) for run in self.runs.values()}
        return {"project": {"id": "p", "internalId": "1"} if (v["entityName"], v["projectName"]) in known else None}

    def answer_upsertView(self, v: dict) -> dict:
        self.reports.append(v | {"spec": json.loads(v["spec"]), "runs": sorted(self.runs)})
        view = {name: v[name] for name in ("name", "displayName", "description", "type", "spec")}
        view |= {"id": v["id"] or f"report-{len(self.reports)}", "updatedAt": "2026-01-01T00:00:00Z",
                 "project": {"id": "p", "name": v["projectName"], "entityName": v["entityName"]}}  # fmt: skip
        return {"upsertView": {"view": view, "inserted": not v["id"]}}

    def answer_CreateRunFiles(self, v: dict) -> dict:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{name}"} for name in v["files"]]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    def file_stream(self, id: str, body: dict[str, Any]) -> None:
        run = self.run(id)
        for name, chunk in (body.get("files") or {}).items():
            run.stream.setdefault(name, {}).update(enumerate(chunk["content"], chunk["offset"]))
        if body.get("complete"):
            run.exit_code = body.get("exitcode")


class Request(BaseHTTPRequestHandler):
    """One request."""

    stub: WandbStub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def reply(self, answer: dict, status: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def respond(self) -> None:
        body, stub, path = self.body(), self.stub, unquote(self.path)
        if stub.fail:
            return self.reply({"error": "stub"}, stub.fail)
        with stub.lock:
            if path == "/graphql":
                asked = json.loads(body)
                try:
                    return self.reply({"data": stub.graphql(asked["query"], asked.get("variables") or {})})
                except Exception as error:  # wandb does not repeat after a 4xx, after a dropped connection it does
                    stub.errors.append(f"{asked['query'].split('(')[0].strip()}: {error!r}")
                    return self.reply({"errors": [{"message": repr(error)}]}, 400)
            if found := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
                stub.file_stream(found[1], json.loads(body))
                return self.reply({"limits": {}})
        return self.reply({})  # uploads, telemetry

    do_GET = do_POST = do_PUT = respond
