"""Hands connections on port 9001 to one of the poller's copies. Service `gateway` of docker-compose.yml.

Copies of one service cannot share a port on the host, and a range of ports moves on with every start of a container.
So the host has one fixed address, and each connection goes to a copy that Docker's name service knows and that answers.
Usage: gateway.py HOST:PORT
"""

import asyncio
import random
import socket
import sys
from functools import partial

PORT = 9001
CHUNK = 65536
CONNECT_SECONDS = 2.0


async def reach(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connects to any copy that answers; asks for the addresses each time, since copies come and go."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    for *_, address in random.sample(found, len(found)):
        try:
            return await asyncio.wait_for(asyncio.open_connection(*address), CONNECT_SECONDS)
        except OSError:
            continue
    raise ConnectionRefusedError(f"no copy of {host} answers on port {port}")


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies one direction to its end, then says so to the other side."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def serve(host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Joins one client with one copy until either lets go."""
    try:
        far_reader, far_writer = await reach(host, port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(pump(reader, far_writer))
                both.create_task(pump(far_reader, writer))
        except* OSError:
            pass  # One side hung up in the middle: the other is told by the close below.
        finally:
            far_writer.close()
    except OSError as error:
        print(f"gateway: {error}", file=sys.stderr)
    finally:
        writer.close()


async def main(target: str) -> None:
    """Listens until the container is stopped."""
    host, _, port = target.rpartition(":")
    # Every address is the container's own; its port is published on 127.0.0.1 only.
    server = await asyncio.start_server(partial(serve, host, int(port)), "0.0.0.0", PORT)  # nosec B104
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
