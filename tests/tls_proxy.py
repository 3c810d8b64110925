"""A door that speaks TLS in front of a server that does not, as hosts of Redis have it."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import trustme


@dataclass(frozen=True)
class TlsDoor:
    """Where it is, and the certificate of the authority that vouches for it."""

    port: int
    authority: Path


@contextmanager
def tls_in_front_of(port: int, folder: Path) -> Iterator[TlsDoor]:
    """A port on 127.0.0.1 whose connections lead, decrypted, to ``port``."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    vouched = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(vouched))
    with closing(asyncio.new_event_loop()) as loop:
        server = loop.run_until_complete(
            asyncio.start_server(lambda *ends: _lead(port, *ends), "127.0.0.1", 0, ssl=context)
        )
        thread = Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield TlsDoor(server.sockets[0].getsockname()[1], vouched)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
            loop.run_until_complete(_close(server))


async def _lead(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
    finally:
        for end in (writer, inner_writer):
            end.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await source.read(65536):
            target.write(some)
            await target.drain()
    target.close()


async def _close(server: asyncio.Server) -> None:
    """Its connections too: nobody is left to close them."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # a connection that is aborted ends with the loop's next turn
