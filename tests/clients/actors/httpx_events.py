"""`httpx-sse`, with the loop around it that its readers write: come back after a broken connection, give up on a status.

In: `{ url, pad, ms }`. Out: the ticks until the event `end`.
"""

import asyncio

import httpx
from httpx_sse import aconnect_sse

from actor import Ticks, named, serve

FIRST_WAIT = 0.3


async def follow(job, ticks):
    last, wait = "", FIRST_WAIT
    async with httpx.AsyncClient(timeout=httpx.Timeout(5, read=30)) as client:
        while True:
            headers = {"Last-Event-ID": last.encode()} if last else {}
            try:
                async with aconnect_sse(client, "GET", job["url"], headers=headers) as source:
                    source.response.raise_for_status()
                    async for event in source.aiter_sse():
                        last = event.id or last
                        wait = event.retry / 1000 if event.retry is not None else wait
                        if event.event == "message":
                            ticks.take(event.data)
                        elif event.event == "end":
                            return
            except httpx.TransportError:
                pass
            await asyncio.sleep(wait)


async def read(job):
    ticks = Ticks(job["pad"])
    try:
        async with asyncio.timeout(job["ms"] / 1000):
            await follow(job, ticks)
    except Exception as error:
        return ticks.outcome(False, named(error))
    return ticks.outcome(True)


serve(read=read)
