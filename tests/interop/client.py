"""The published Python client against the hub: over HTTP and stdio, in each era. Ends with `N passed, N failed`.

    client.py URL SCRATCH-FOLDER HUB-PROGRAM CONFIG
"""

import json
import os
import sys
from pathlib import Path

import anyio
from mcp import MCPError, StdioServerParameters, stdio_client
from mcp.client.client import Client

HERE = Path(__file__).parent


class Checks:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def ok(self, condition: bool, what: str) -> None:
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {what}", file=sys.stderr)


async def exercise(checks: Checks, what: str, client: Client, separator: str, calls: list[dict]) -> None:
    """List, call each server once, and be told of a tool that does not exist."""
    listed = await client.list_tools()
    names = [tool.name for tool in listed.tools]
    for call in calls:
        own = [name for name in names if name.startswith(call["server"] + separator)]
        checks.ok(len(own) >= call["tools_min"], f"{what}: {call['server']} lists {len(own)} tools")
        result = await client.call_tool(call["server"] + separator + call["tool"], call["arguments"])
        text = result.model_dump_json()
        checks.ok(call["expect"] in text, f"{what}: {call['server']}.{call['tool']} answered {text[:300]}")
    try:
        await client.call_tool("nobody.nothing", {})
        checks.ok(False, f"{what}: an unknown tool was called")
    except MCPError as error:
        checks.ok(error.error.code == -32602, f"{what}: an unknown tool answered {error}")


async def main() -> int:
    url, folder, hub, config = sys.argv[1:]
    calls = [
        {"server": entry["name"], **entry["call"]}
        for entry in json.loads((HERE / "servers.json").read_text().replace("{dir}", folder))
        if entry.get("every")
    ]
    checks = Checks()
    stdio = StdioServerParameters(command=hub, args=["stdio", "--config", config], env=dict(os.environ))
    for mode in ("legacy", "auto", "2026-07-28"):
        for what, target, separator in (("http", lambda: url, "."), ("stdio", lambda: stdio_client(stdio), "__")):
            before = checks.failed
            try:
                async with Client(target(), mode=mode) as client:
                    await exercise(checks, f"python {mode} {what}", client, separator, calls)
            except BaseException as error:  # anyio wraps failures in groups
                checks.ok(False, f"python {mode} {what}: {error!r}")
            print(f"{'ok  ' if checks.failed == before else 'FAIL'} Python, {mode}, {what}")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


sys.exit(anyio.run(main))
