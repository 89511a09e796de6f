"""Where a complete call spends its time inside the rules: for each Lua function, what one call costs on average.

    python -m tests.lua_profile [--commits-of N] [--top N]

Runs the library outside the server, in Lua 5.1 with a hook on every instruction, against a real server. Prints for
each function the instructions of the Lua machine, the bytes that it allocates, and its `redis.call`s, without those of
the functions that it calls. Commands and garbage take most of a server's time, so calls and bytes say more than
instructions. A call is that of `invites bench throughput`. `python -m tests.instructions` counts what it costs a
server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

import lupa.lua51
import msgspec
import redis

from invites.events.decoding import decode_event_entry
from invites.store.answers import Status
from invites.store.commit import Committer
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from workers.lab.bench.load import RING_MS, Load
from workers.lab.bench.target import Target, open_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.asyncio import Redis

_CALLS: Final = 128
_DEVICES: Final = 3
_FUNCTION: Final = re.compile(r"function\s+([\w.:]+)\s*\(|(\w+)\s*=\s*function")

_HOOK: Final = """
local steps, bytes = {}, {}
local count, getinfo = collectgarbage, debug.getinfo
local before, running
local COMMANDS = 0
collectgarbage('stop')

local function hook()
  local grown = count('count') - before
  if running then
    bytes[running] = (bytes[running] or 0) + grown
  end
  local info = getinfo(2, 'Sf')
  running = info.func == called_from and COMMANDS or info.linedefined
  steps[running] = (steps[running] or 0) + 1
  info = nil
  before = count('count')
end

function profile(callback, keys, arguments)
  before, running = count('count'), nil
  debug.sethook(hook, '', 1)
  local answer = callback(keys, arguments)
  debug.sethook()
  collectgarbage()
  collectgarbage('stop')
  return answer
end

function called_from()
  return getinfo(3, 'S').linedefined
end

return steps, bytes
"""


class Profile:
    """Runs the library's functions instead of a server, and counts."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._callbacks: dict[str, Any] = {}
        self.calls: Counter[int] = Counter()
        self.commands: Counter[str] = Counter()
        self.lua = lua = lupa.lua51.LuaRuntime(encoding="latin-1", unpack_returned_tuples=True)
        self.steps, self.bytes = lua.execute(_HOOK)
        names = lua.globals()
        names.redis = lua.table_from(
            {"call": self._call, "pcall": self._call, "register_function": self._register}
        )
        names.cjson = lua.table_from({"decode": self._decode, "encode": self._encode})
        library = Scripts().library
        assert library is not None
        self._lines = library.text.split("\n")
        lua.execute(library.text.replace("#!lua", "--", 1))

    def _register(self, function: Any) -> None:
        self._callbacks[function["function_name"]] = function["callback"]

    async def execute_command(self, _: str, name: str, count: int, *rest: Any) -> Any:
        """Run FCALL here."""
        texts = [part.decode("latin-1") if isinstance(part, bytes) else str(part) for part in rest]
        table = self.lua.table_from
        answer = self.lua.globals().profile(self._callbacks[name], table(texts[:count]), table(texts[count:]))
        return _reply(answer)

    def _call(self, *command: Any) -> Any:
        self.calls[self.lua.globals().called_from()] += 1
        self.commands[command[0]] += 1
        try:
            reply = self._value(self._client.execute_command(*(_argument(part) for part in command)))
        except redis.ResponseError as error:
            return self.lua.table_from({"err": str(error)})
        return self.lua.table_from({"ok": reply}) if command[0] == "TYPE" else reply

    def _value(self, reply: Any) -> Any:
        if reply is None:
            return False
        if isinstance(reply, bytes):
            return reply.decode("latin-1")
        if isinstance(reply, list):
            return self.lua.table_from([self._value(item) for item in reply])
        return reply

    def _decode(self, text: str) -> Any:
        def convert(value: Any) -> Any:
            if isinstance(value, dict):
                return self.lua.table_from({name: convert(item) for name, item in value.items()})
            return (
                self.lua.table_from([convert(item) for item in value]) if isinstance(value, list) else value
            )

        return convert(json.loads(text))

    def _encode(self, value: Any) -> str:
        return json.dumps(value if isinstance(value, str) else dict(value))

    def name(self, line: int) -> str:
        """The name of the function that begins in this line of the library."""
        if line <= 0:
            return "(replies of commands)"
        text = self._lines[line - 1].strip()
        found = _FUNCTION.search(text)
        return f"{found[1] or found[2]}" if found else f"line {line}: {text}"


def _reply(value: Any) -> Any:
    if lupa.lua51.lua_type(value) == "table":
        return [_reply(item) for item in value.values()]
    return value.encode("latin-1") if isinstance(value, str) else value


def _argument(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value.encode("latin-1") if isinstance(value, str) else value


async def _settle(target: Target, events: Iterable[Any], committer: Committer, size: int) -> None:
    target.publish(events)
    for keys in target.shards:
        operations = [decode_event_entry(entry, max_deliveries=1) for entry in target.take(keys)]
        for first in range(0, len(operations), size):
            result = await committer.commit(operations[first : first + size])
            failed = [outcome for outcome in result.outcomes if outcome.status is not Status.DONE]
            if failed:
                sys.exit(f"{len(failed)} events failed, the first with {failed[0]}")


async def _profile(target: Target, url: str, size: int) -> Profile:
    settings = msgspec.structs.replace(Settings(), ring_timeout=RING_MS, max_ring_timeout=RING_MS)
    load = Load(_CALLS, _DEVICES, 1)
    target.make_groups()
    with redis.Redis.from_url(url, protocol=2) as client:
        client.response_callbacks.clear()
        profile = Profile(client)
        committer = Committer(cast("Redis", profile), target.shards[0], settings, Scripts(), verbosity=0)
        await _settle(target, load.registrations(), committer, size)
        for counted in (profile.calls, profile.commands):
            counted.clear()
        for line in list(profile.steps):
            profile.steps[line], profile.bytes[line] = 0, 0
        await _settle(target, load.backlog(), committer, size)
    return profile


def _print(profile: Profile, top: int) -> None:
    write = sys.stdout.write
    write(f"{'instructions':>12} {'bytes':>8} {'calls':>6}  function\n")
    lines = sorted(profile.steps, key=lambda line: -profile.steps[line])
    totals = [0.0, 0.0, 0.0]
    for place, line in enumerate(lines):
        row = (
            profile.steps[line] / _CALLS,
            (profile.bytes[line] or 0) * 1024 / _CALLS,
            profile.calls[line] / _CALLS,
        )
        totals = [total + part for total, part in zip(totals, row, strict=True)]
        if place < top:
            write(f"{row[0]:12.0f} {row[1]:8.0f} {row[2]:6.1f}  {profile.name(line)}\n")
    write(f"{totals[0]:12.0f} {totals[1]:8.0f} {totals[2]:6.1f}  all\n")
    write(", ".join(f"{name} {count / _CALLS:.1f}" for name, count in profile.commands.most_common()) + "\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commits-of", type=int, default=_CALLS, help="events in a commit")
    parser.add_argument("--top", type=int, default=40, help="how many functions to print")
    chosen = parser.parse_args()
    with open_target(None) as target:
        _print(asyncio.run(_profile(target, target.url, chosen.commits_of)), chosen.top)


if __name__ == "__main__":
    main()
