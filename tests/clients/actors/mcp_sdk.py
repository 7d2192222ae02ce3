"""The MCP SDK for Python.

In: `{ url, tag, n, every, ms, opening, transport, mode }`. Out: the ticks of the notifications, and whether the tool's result came.
"""

import asyncio
import warnings

from mcp import Client
from mcp.client.sse import sse_client

from actor import Ticks, named, serve

warnings.simplefilter("ignore")

# Time for what comes too late or twice.
LATE = 0.3


def connect(job, ticks):
    async def hear(params):
        ticks.take(str(params.data))

    server = sse_client(job["url"]) if job["transport"] == "sse" else job["url"]
    return Client(server, mode=job["mode"], logging_callback=hear, log_level="info")


async def call(job):
    ticks = Ticks(job["pad"])
    arguments = {"n": job["n"], "every": job["every"], "tag": job["tag"]}
    finished, error = False, ""
    try:
        async with connect(job, ticks) as client:
            try:
                async with asyncio.timeout(job["ms"] / 1000):
                    result = await client.call_tool("count_to", arguments)
                finished = result.content[0].text == f"counted to {job['n']}"
            except Exception as failure:
                error = named(failure)
            await asyncio.sleep(LATE)
    except Exception as failure:
        error = error or named(failure)
    return ticks.outcome(finished, error)


async def listen(job):
    ticks = Ticks(job["pad"])
    async with connect(job, ticks) as client:
        await asyncio.sleep(job["opening"] / 1000)
        await client.call_tool("tell_all", {"n": job["n"], "every": job["every"], "tag": job["tag"]})
        for _ in range(job["ms"] // 20):
            if len(ticks.got) >= job["n"]:
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(LATE)
    return ticks.outcome(len(ticks.got) >= job["n"])


serve(call=call, listen=listen)
