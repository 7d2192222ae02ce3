"""The OpenAI SDK for Python.

In: `{ url, model, tag, n, pad }`. Out: the ticks of the answer's text, and whether the answer was finished.
"""

from openai import AsyncOpenAI

from actor import Ticks, named, serve


async def ask(job, stream):
    client = AsyncOpenAI(base_url=job["url"], api_key="key", max_retries=job.get("retries", 2), timeout=job.get("timeout", 30_000) / 1_000)
    return await client.chat.completions.create(
        model=job["model"],
        user=job["tag"],
        max_tokens=job["n"],
        messages=[{"role": "user", "content": "count"}],
        stream=stream,
    )


async def read_stream(job):
    ticks = Ticks(job["pad"])
    finished = False
    try:
        async for chunk in await ask(job, True):
            choice = chunk.choices[0]
            ticks.take(choice.delta.content or "")
            finished = finished or choice.finish_reason == "stop"
    except Exception as error:
        return ticks.outcome(False, named(error))
    return ticks.outcome(finished)


async def read_whole(job):
    ticks = Ticks(job["pad"])
    answer = await ask(job, False)
    ticks.take(answer.choices[0].message.content)
    return ticks.outcome(True)


serve(stream=read_stream, whole=read_whole)
