"""If a rank dies, the others leave with one line: each holds a connection to rank 0, which closes however it ends."""

import hashlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from selectors import EVENT_READ, DefaultSelector

from gptx.distributed.rank import world_size

log = logging.getLogger("gptx")
_LEAVE = 20.0  # seconds after the loss of a rank in which the others end in order; then they end at once
_NEWS = 5.0  # seconds in which the loss that made a collective fail is known


class PeerLost(OSError):
    """A rank of this run ended, and so must the others: what happened, in one line."""


@contextmanager
def together(parallel, told: tuple[type[Exception], ...]) -> Iterator["Peers"]:
    """End this process if another rank ends before it, as `Peers.noticing` does."""
    peers = Peers(parallel, told)
    try:
        with peers.noticing():
            yield peers
    finally:
        if not isinstance(sys.exception(), KeyboardInterrupt):  # else the connection that closes tells the others
            peers.say({"finished": True})


class Peers:
    """The connections of this rank, and a thread that watches them. Rank 0 logs what happened, or rank 1 if rank 0 was
    killed; rank 0 prints an error of the types `told` for all ranks."""

    def __init__(self, parallel, told: tuple[type[Exception], ...]):
        self.rank, self.world, self.told = parallel.rank, parallel.world_size, told
        self.lost, self.said, self.line, self.speaker = threading.Event(), threading.Lock(), "", 0
        self.connections = self._connect(parallel) if self.world > 1 else {}
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """If a rank died, log that and raise PeerLost; if rank 0 will print the same error, exit with code 1."""
        try:
            yield
        except PeerLost:
            raise
        except Exception as error:
            if self.connections:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, which comes as soon as one rank has left
            news = _NEWS if self.connections and isinstance(error, RuntimeError) else 0
            if self.lost.wait(news) and not isinstance(error, self.told):
                self._tell()
                raise PeerLost(self.line) from None
            self.say({"ended": " ".join(str(error).split()) or type(error).__name__})
            if isinstance(error, self.told) and self.rank:
                raise SystemExit(1) from None
            raise

    def _tell(self) -> None:
        if self.rank == self.speaker and self.said.acquire(blocking=False):
            if self.rank == 0:
                log.error("%s", self.line)
            else:  # whose log is silent
                print(f"error: {self.line}", file=sys.stderr, flush=True)

    def _connect(self, parallel) -> dict[int, socket.socket]:
        """Connections by rank: rank 0 has one to each, each of the others one to rank 0."""
        if self.rank == 0:
            family = socket.AF_INET6 if (both := socket.has_dualstack_ipv6()) else socket.AF_INET
            server = socket.create_server(("", 0), family=family, backlog=self.world, dualstack_ipv6=both)
            server.settimeout(60)
            key = os.urandom(16).hex()
            parallel.gather((server.getsockname()[1], key))
            found: dict[int, socket.socket] = {}
            while len(found) < self.world - 1:
                connection = server.accept()[0]
                with suppress(ValueError, OSError):
                    connection.settimeout(60)
                    rank, said = connection.makefile().readline().split()
                    if said == key:
                        found[int(rank)] = connection
            server.close()
        else:
            port, key = parallel.gather(None)[0]
            found = {0: socket.create_connection((os.environ["MASTER_ADDR"], port), timeout=60)}
            found[0].sendall(f"{self.rank} {key}\n".encode())
        for connection in found.values():
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a machine that is gone closes nothing
            for name, seconds in {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}.items():
                if hasattr(socket, name):
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
        return found

    def say(self, message: dict) -> None:
        """Send a message to every rank that this one is connected to; those that are gone miss it."""
        for connection in self.connections.values():
            with suppress(OSError):
                connection.sendall(json.dumps(message).encode() + b"\n")

    def _watch(self) -> None:
        """Wait for the first bad news, then for the end of this process, which is forced after `_LEAVE`."""
        with DefaultSelector() as selector:
            for rank, connection in self.connections.items():
                selector.register(connection, EVENT_READ, (rank, connection.makefile()))
            while not self.line:
                if not selector.get_map():
                    return  # all finished
                key, _ = selector.select()[0]
                rank, lines = key.data
                try:
                    message = json.loads(lines.readline() or "{}")
                except OSError:
                    message = {}
                if "finished" in message:
                    selector.unregister(key.fileobj)
                else:
                    self.speaker = 0 if rank else 1 if not message else -1
                    ended = message.get("ended", "killed, or its machine is gone")
                    line = f"rank {rank} of {self.world} processes ended ({ended}); the others stop"
                    self.line = message.get("line", f"{line}; the same command continues from the newest checkpoint")
        if self.rank == 0:
            self.say({"line": self.line})
        self.lost.set()
        time.sleep(_LEAVE)
        self._tell()
        os._exit(1)


def first_to_say(line: str) -> bool:
    """False if another rank of this run has said the same already, as far as torchrun knows."""
    if world_size() == 1:
        return True
    from torch.distributed import TCPStore

    name = hashlib.sha256(f"{os.environ.get('TORCHELASTIC_RESTART_COUNT')} {line}".encode(errors="replace")).hexdigest()
    try:
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return TCPStore(*place, is_master=False, timeout=timedelta(seconds=5)).add(f"gptx said {name}", 1) == 1
    except RuntimeError:  # the process that holds the table is not there yet, or not any more
        return True
