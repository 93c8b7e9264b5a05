"""One of the clients of asking.mjs: calls the tool `ask` several times at once, and answers the questions that come.

    asking.py NAME MODE URL CALLS
"""

import sys

import anyio
from mcp import types
from mcp.client.client import Client


async def main() -> None:
    name, mode, url, calls = sys.argv[1:]
    wrong: list[str] = []
    questions = 0

    async def answer(_context, params: types.ElicitRequestParams) -> types.ElicitResult:
        nonlocal questions
        questions += 1
        if not params.message.startswith(f"{name}-"):
            wrong.append(f"{name} was asked {params.message}")
        await anyio.sleep(0.03)
        return types.ElicitResult(action="accept", content={"answer": f"{params.message} by {name}"})

    async def call(client: Client, number: int) -> None:
        nonce = f"{name}-{number}"
        try:
            result = await client.call_tool("ask", {"nonce": nonce})
            text = result.content[0].text
        except Exception as error:
            text = repr(error)
        if text != f"{nonce} accept {nonce} by {name}":
            wrong.append(f"{nonce} came back as {text}")

    async with Client(url, mode=mode, elicitation_callback=answer) as client:
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        async with anyio.create_task_group() as group:
            for number in range(int(calls)):
                group.start_soon(call, client, number)
        if questions != int(calls):
            wrong.append(f"{name} was asked {questions} times, not {calls}")
    print(*wrong, "done", sep="\n")


anyio.run(main)
