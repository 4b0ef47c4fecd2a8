"""A second SSH client beside OpenSSH: asyncssh jumps through the bastion and does what the stock client does.

Reads one JSON object from standard input, prints one JSON object: {"ok": true, ...} or {"ok": false, "error": ...}.

  bastion, target   {"host", "port", "login"}; without "bastion" it goes straight to the target
  key, certificate  files; the same pair is shown to both
  known_hosts       file; nobody is trusted who is not in it
  command           run without a terminal; answers status, signal, stdout, stderr (base64)
  input             base64 bytes for the command's standard input
  terminal          [columns, rows] when the command gets a terminal
  put, get          {"from", "to"}, by sftp, after the command
  tun               asks for a network interface; answers tun: "opened" or why not
  patience_secs     for everything together (default 30)
"""

import asyncio
import base64
import json
import sys

import asyncssh


def encoded(value):
    return base64.b64encode(value or b"").decode()


async def connect(where, wish, tunnel=None):
    return await asyncssh.connect(
        where["host"],
        port=where["port"],
        username=where["login"],
        client_keys=[(wish["key"], wish["certificate"])],
        known_hosts=wish["known_hosts"],
        agent_path=None,
        config=None,
        tunnel=tunnel,
    )


async def command(connection, wish):
    terminal = wish.get("terminal")
    finished = await connection.run(
        wish["command"],
        input=base64.b64decode(wish.get("input", "")),
        encoding=None,
        term_type="xterm" if terminal else None,
        term_size=tuple(terminal) if terminal else None,
    )
    return {
        "status": finished.exit_status,
        "signal": finished.exit_signal[0] if finished.exit_signal else None,
        "stdout": encoded(finished.stdout),
        "stderr": encoded(finished.stderr),
    }


async def passage(wish):
    answer = {}
    outer = await connect(wish["bastion"], wish) if "bastion" in wish else None
    inner = await connect(wish["target"], wish, outer)
    if "command" in wish:
        answer.update(await command(inner, wish))
    if "put" in wish or "get" in wish:
        async with inner.start_sftp_client() as sftp:
            if "put" in wish:
                await sftp.put(wish["put"]["from"], wish["put"]["to"])
            if "get" in wish:
                await sftp.get(wish["get"]["from"], wish["get"]["to"])
    if wish.get("tun"):
        try:
            await inner.create_tun(asyncssh.SSHTunTapSession)
            answer["tun"] = "opened"
        except asyncssh.ChannelOpenError as error:
            answer["tun"] = str(error)
    for connection in (inner, outer):
        if connection is not None:
            connection.close()
            await connection.wait_closed()
    return answer


async def main():
    wish = json.load(sys.stdin)
    try:
        answer = await asyncio.wait_for(passage(wish), wish.get("patience_secs", 30))
    except (OSError, asyncssh.Error, asyncio.TimeoutError) as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}
    return {"ok": True, **answer}


print(json.dumps(asyncio.run(main())))
