"""MCP servers of the Python SDK: `/stored/RUN/mcp` keeps its events, `/bare/RUN/mcp` does not, `/slash/RUN/mcp/` has a
slash that clients leave out, `/brief/RUN/mcp` ends the first stream of its standalone GET without an event, `/sse` is the
older transport.

In: a port. `RUN` names a server of its own, since the sessions of one server share the names of their streams in its store. Out: the tools `count_to` (ticks on its own stream) and `tell_all` (ticks on the standalone stream), and
`GET /count?tag=`: how often the tool ran.
"""

import asyncio
import sys
from collections import Counter

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventMessage, EventStore
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

BRIEF = 0.2
runs: Counter[str] = Counter()
telling = set()


class Events(EventStore):
    """The events of all sessions, in order."""

    def __init__(self):
        self.kept = []

    async def store_event(self, stream_id, message):
        self.kept.append((stream_id, message))
        return f"{stream_id}:{len(self.kept)}"

    async def replay_events_after(self, last_event_id, send_callback):
        stream, _, text = last_event_id.rpartition(":")
        at = int(text)
        # What is stored meanwhile belongs to the replay too.
        while at < len(self.kept):
            owner, message = self.kept[at]
            at += 1
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, f"{stream}:{at}"))
        return stream


def counter() -> MCPServer:
    server = MCPServer("counter", log_level="ERROR")

    @server.tool()
    async def count_to(n: int, every: int, tag: str, context: Context) -> str:
        runs[tag] += 1
        for i in range(1, n + 1):
            await asyncio.sleep(every / 1000)
            await context.info(f"tick-{i}#")
        await asyncio.sleep(every / 1000)
        return f"counted to {n}"

    @server.tool()
    async def tell_all(n: int, every: int, tag: str, context: Context) -> str:
        async def tell():
            for i in range(1, n + 1):
                await asyncio.sleep(every / 1000)
                await context.session.send_log_message(level="info", data=f"tick-{i}#")

        task = asyncio.create_task(tell())
        telling.add(task)
        task.add_done_callback(telling.discard)
        return "telling"

    return server


async def count(request):
    return JSONResponse(runs[request.query_params["tag"]])


def stored(path):
    return counter().streamable_http_app(streamable_http_path=path, event_store=Events())


def bare(path):
    return counter().streamable_http_app(streamable_http_path=path)


def slash(path):
    return counter().streamable_http_app(streamable_http_path=path + "/")


def brief(path):
    app, ended = bare(path), []

    async def answer(scope, receive, send):
        if scope["method"] != "GET" or ended:
            return await app(scope, receive, send)
        ended.append(True)
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.sleep(BRIEF)
        await send({"type": "http.response.body", "body": b""})

    answer.router = app.router
    return answer


async def keep(app, begun):
    async with app.router.lifespan_context(app):
        begun.set()
        await asyncio.Event().wait()


def on_demand(make):
    """An application that makes a server for each `/KIND/RUN/mcp` when it is first asked for."""
    servers = {}

    async def answer(scope, receive, send):
        path = scope["path"].rstrip("/")
        if path not in servers:
            app, begun = make(path), asyncio.Event()
            servers[path] = app, begun, asyncio.create_task(keep(app, begun))
        app, begun, _ = servers[path]
        await begun.wait()
        await app({**scope, "root_path": ""}, receive, send)

    return answer


kinds = [Mount(f"/{make.__name__}", on_demand(make)) for make in (stored, bare, slash, brief)]
routes = [Route("/count", count), *kinds, *counter().sse_app().routes]
uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
