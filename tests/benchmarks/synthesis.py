"""How busy an endpoint is kept, beside a bare asynchronous client, and how fast the gates are.

    python -m tests.benchmarks.synthesis [--documents 400] [--concurrency 16] [--latency 0.05]

The endpoint is a real server in a process of its own that answers after a fixed latency; both clients ask it the same
chats in the same run. In use is the mean number of requests under way by the limit, without the first and the last
tenth: as the client counts them, from asking to the answer, and as the server does, which sees none on the way. CPU
seconds of `synthesize` are those from its first request to its last: prompts, gates and journal, too.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import tempfile
import time
from itertools import pairwise
from typing import Any

from florilegium.pipelines.engines import load_engine
from florilegium.pipelines.synthesis import endpoint as endpoint_module
from florilegium.pipelines.synthesis.composer import compose
from florilegium.pipelines.synthesis.gates import Draft, check
from florilegium.pipelines.synthesis.generate import plan_synthesis, synthesize
from florilegium.pipelines.synthesis.grid import plan_cells
from florilegium.pipelines.synthesis.prompts import draft
from florilegium.schemas.recipe import Recipe, Synthesis, SyntheticGates


def endpoint(latency: float, pipe: Any) -> None:
    """An asyncio server of the protocol; tells its address, then on request how busy it was."""
    cells = plan_cells(Synthesis(documents=207), 3)
    documents = [compose(cell) for cell in cells]
    under_way, busy, asked = 0, [], 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, asked
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            body = await reader.readexactly(length)
            under_way, asked = under_way + 1, asked + 1
            busy.append((time.monotonic(), under_way))
            place = asked
            await asyncio.sleep(latency)
            content = '{"faults": []}' if b"You examine" in body[:200] else documents[place % len(documents)]
            answer = json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).encode()
            under_way -= 1
            busy.append((time.monotonic(), under_way))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            )
            writer.write(answer)
            await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
        pipe.send(server.sockets[0].getsockname()[1])
        while True:
            await asyncio.sleep(0.02)
            if pipe.poll():
                pipe.recv()
                pipe.send((asked, list(busy)))
                busy.clear()

    asyncio.run(main())


def in_use(busy: list[tuple[float, int]], limit: int) -> float:
    """Mean requests under way by the limit, without the first and last tenth."""
    part = busy[len(busy) // 10 : -len(busy) // 10]
    weighted = sum(count * (after - at) for (at, count), (after, _) in pairwise(part))
    return weighted / (part[-1][0] - part[0][0]) / limit


def count_slots() -> tuple[list[tuple[float, int]], list[float]]:
    """Moments at which the runner's requests begin and end, and the CPU seconds by then, filled while it runs."""
    moments: list[tuple[float, int]] = []
    seconds: list[float] = []
    ask = endpoint_module._Server._ask
    under_way = 0

    async def counted(self: Any, payload: dict[str, Any]) -> dict[str, Any]:
        nonlocal under_way
        under_way += 1
        moments.append((time.monotonic(), under_way))
        seconds.append(time.process_time())
        try:
            return await ask(self, payload)
        finally:
            under_way -= 1
            moments.append((time.monotonic(), under_way))

    endpoint_module._Server._ask = counted  # type: ignore[method-assign]
    return moments, seconds


async def bare(port: int, chats: list[Any], limit: int) -> float:
    """Requests a second of a client that does nothing else: a task for each of `limit` kept connections."""
    waiting = iter(chats)

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for messages in waiting:
            body = json.dumps({"model": "m", "messages": messages}).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            answer = await reader.readexactly(int(head.rpartition(b":")[2]))
            json.loads(answer)["choices"][0]["message"]["content"]
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(limit)))
    return len(chats) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.05)
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=endpoint, args=(options.latency, there), daemon=True)
    server.start()
    port = here.recv()
    backend = {"name": "m", "endpoint": f"http://127.0.0.1:{port}/v1", "model": "m", "concurrency": options.concurrency}
    synthesis = {"documents": options.documents, "backends": [backend], "revisions": 0, "task_documents": 10**6}
    recipe = Recipe.model_validate({"name": "speed", "synthesis": synthesis})
    plan = plan_synthesis(recipe)
    chats = [draft(cell) for cell in plan.cells for _ in range(2)]
    drafts = [Draft(compose(cell), cell) for cell in plan_cells(Synthesis(documents=600), 3)]
    check(drafts[:5], SyntheticGates())  # models and kernels are loaded before anything is timed
    started = time.process_time()
    check(drafts, SyntheticGates())
    gates = len(drafts) / (time.process_time() - started)

    used = time.process_time()
    rate = asyncio.run(bare(port, chats, options.concurrency))
    bare_seconds = (time.process_time() - used) / len(chats)
    here.send("figures")
    here.recv()
    slots, seconds = count_slots()
    with tempfile.TemporaryDirectory() as folder:
        synthesize(plan, folder, load_engine("local", 1))
    our_seconds = (seconds[-1] - seconds[0]) / len(seconds)
    here.send("figures")
    _, busy = here.recv()
    ours = (len(busy) / 2 - 1) / (busy[-1][0] - busy[2][0])
    server.terminate()
    print(f"{'in use, by the client':<28}{in_use(slots, options.concurrency):8.1%}")
    print(f"{'in use, by the server':<28}{in_use(busy, options.concurrency):8.1%}")
    print(f"{'bare client, requests/s':<28}{rate:8.0f}")
    print(f"{'synthesize, requests/s':<28}{ours:8.0f}  {ours / rate:.0%} of the bare client")
    print(f"{'CPU ms a request':<28}{1e3 * our_seconds:8.2f}  the bare client's {1e3 * bare_seconds:.2f}")
    print(f"{'load, of ' + str(os.cpu_count()) + ' cores':<28}{os.getloadavg()[0]:8.1f}")
    print(f"{'gates, documents/s a core':<28}{gates:8.0f}")


if __name__ == "__main__":
    main()
