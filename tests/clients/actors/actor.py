"""The other end of `bench/actor.mjs`, for actors in Python.

In: `{ id, do, ... }` on each line of stdin. Out: `{ id, got, finished, error, ... }` on each line of stdout.
"""

import asyncio
import json
import re
import sys
import time

TICK = re.compile(r'tick-(\d+)#([^\s"\\]*)')


class Ticks:
    """Reads ticks out of texts, and sees whether they are whole."""

    def __init__(self, pad=""):
        self.pad = pad
        self.got = []
        self.damaged = 0
        self.times = []

    def take(self, text):
        for number, pad in TICK.findall(text):
            self.times.append(time.monotonic())
            self.got.append(int(number))
            self.damaged += pad != self.pad

    def outcome(self, finished, error=""):
        span = round((self.times[-1] - self.times[0]) * 1000) if self.times else 0
        return {"got": self.got, "damaged": self.damaged, "span": span, "finished": finished, "error": error}


def named(error):
    """The innermost error where several tasks failed: groups say nothing by themselves."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    status = getattr(error, "status_code", None)
    return " ".join(str(part) for part in (type(error).__name__, status, error) if part is not None)


async def _play(part, job):
    try:
        outcome = await part(job)
    except Exception as error:
        outcome = {"got": [], "finished": False, "error": named(error)}
    print(json.dumps({"id": job["id"], **outcome}), flush=True)


async def _serve(parts):
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    playing = set()
    while line := await reader.readline():
        job = json.loads(line)
        task = asyncio.create_task(_play(parts[job["do"]], job))
        playing.add(task)
        task.add_done_callback(playing.discard)


def serve(**parts):
    """`parts`: for each `do`, a coroutine function from the job to its outcome."""
    asyncio.run(_serve(parts))
