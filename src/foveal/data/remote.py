"""The one way by which a picture comes over the network: off unless a policy names hosts, and never from an address within a private network."""

import base64
import binascii
import http.client
import io
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, cast
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

__all__ = ["Dial", "RefusedUrlError", "Resolve", "UrlPolicy", "fetch", "is_public", "is_url", "read_url"]

Resolve = Callable[[str, int], Sequence[str]]
"""From a host's name and a port to all its IP addresses; OSError where it has none."""
Dial = Callable[[str, int, float], socket.socket]
"""A connection to an IP address and a port, within so many seconds; OSError where there is none."""


class RefusedUrlError(ValueError):
    """An address that is not read, or that gave no picture, said in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """What may be fetched. Without `allowed_hosts` nothing is; "*.example.org" stands for all hosts below it, "*" for every public host."""

    allowed_hosts: tuple[str, ...] = ()
    most_bytes: int = 48 * 2**20
    """Bytes of an answer, or of a data URL's picture."""
    connect_s: float = 3.0
    """Seconds for finding a host, and for connecting to it."""
    read_s: float = 5.0
    """Seconds of silence."""
    total_s: float = 20.0
    """Seconds for all of it, redirects too."""
    most_hops: int = 3
    """Redirects that are followed, each checked like the first address."""


_SCHEMES = {"http": 80, "https": 443}
_URL = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*://|data:)", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?\.?|\[[0-9a-f:.]+\]", re.IGNORECASE)
_DATA = re.compile(r"data:(?P<about>[^,]{0,200}),", re.IGNORECASE)
_REDIRECTS = (301, 302, 303, 307, 308)
_UNICAST = IPv6Network("2000::/3")
_ELSEWHERE = [ip_network(block) for block in ("2002::/16", "192.88.99.0/24", "192.0.0.0/24")]
_STARTS = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|BM|II\*\0|MM\0\*|II\+\0|MM\0\+|RIFF....WEBP", re.DOTALL)
_LONGEST_URL, _STEP = 4096, 65_536


def is_url(source: str) -> bool:
    """Whether a text is an address rather than the path of a file.

    >>> is_url("https://example.org/a.png"), is_url("pictures/a.png")
    (True, False)
    """
    return _URL.match(source) is not None


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, and leads to no other network through a gateway.

    IPv4 mapped into IPv6 is judged as the IPv4 it is. Private, loopback, link-local, shared (100.64/10), reserved and multicast addresses are not
    public; neither are 6to4 (2002::/16), NAT64 (64:ff9b::/96) and whatever else of IPv6 lies outside 2000::/3.

    >>> is_public("93.184.216.34"), is_public("169.254.169.254"), is_public("::ffff:127.0.0.1"), is_public("64:ff9b::7f00:1")
    (True, False, False, False)
    """
    try:
        found: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if isinstance(found, IPv6Address) and (found.scope_id is not None or found not in _UNICAST):
        return False
    return bool(found.is_global and not found.is_multicast and not found.is_reserved and not any(found in block for block in _ELSEWHERE))


def read_url(url: str, policy: UrlPolicy = UrlPolicy(), **how: Any) -> bytes:
    """The bytes behind a data URL, or behind an http or https URL that `policy` allows (`fetch`); `RefusedUrlError` for any other address.

    >>> read_url("data:image/png;base64,iVBORw0KGgo=")[:4]
    b'\\x89PNG'
    """
    return _data(url, policy) if url[:5].lower() == "data:" else fetch(url, policy, **how)


def fetch(url: str, policy: UrlPolicy, *, resolve: Resolve | None = None, dial: Dial | None = None) -> bytes:
    """The picture at an http or https URL, as encoded bytes; `RefusedUrlError` for what `policy` does not allow, and for what is no picture.

    A host's name is looked up once, all its addresses must be public, and the connection goes to one of these, whatever the name means by then.
    Redirects are checked anew. Proxies of the environment are not used, for they would look the name up again. `resolve` and `dial` stand in for
    the system's own.
    """
    deadline = time.monotonic() + policy.total_s
    for _ in range(policy.most_hops + 1):
        parts, port = _checked(url, policy)
        found = _hop(parts, port, policy, deadline, resolve or _resolve, dial or _dial)
        if isinstance(found, bytes):
            return found
        try:
            url = urljoin(url, found)
        except ValueError as error:
            raise RefusedUrlError(f"The address redirects to one that is malformed ({error}).") from error
    raise RefusedUrlError(f"The address redirects more than {policy.most_hops} times; that many are followed.")


def _data(url: str, policy: UrlPolicy) -> bytes:
    """RFC 2397: `data:[type][;name=value …][;base64],…`; only base64 says where a picture's bytes end, but escaped bytes are taken too."""
    head = _DATA.match(url)
    if head is None:
        raise RefusedUrlError("A data URL is written data:image/png;base64,… ; this one has no comma where its data begin.")
    about, data = head["about"].lower(), url[head.end() :]
    if not about.startswith(("image/", ";", "application/octet-stream")) and about:
        raise RefusedUrlError("A data URL holds something else than a picture; its type is wanted to be image/….")
    if len(data) > 3 * policy.most_bytes:
        raise RefusedUrlError(f"A data URL holds more than the {policy.most_bytes:,} bytes that are taken.")
    try:
        raw = unquote_to_bytes(data.encode("ascii")) if "%" in data else data.encode("ascii")
        made = base64.b64decode(raw, validate=True) if about.split(";")[-1].strip() == "base64" else raw
    except (UnicodeEncodeError, binascii.Error) as error:
        raise RefusedUrlError(f"The data of a data URL are not base64 ({error}).") from error
    return _picture(made, policy)


def _checked(url: str, policy: UrlPolicy) -> tuple[SplitResult, int]:
    """The parts of an address that is allowed. What two programs could read differently is refused rather than read."""
    if not policy.allowed_hosts:
        raise RefusedUrlError("Addresses are not read here; send the picture itself, as a data URL or a file.")
    if len(url) > _LONGEST_URL or _FORBIDDEN.search(url) or not url.isascii():
        raise RefusedUrlError("The address is longer than 4,096 characters, or has blanks, backslashes or letters that an address spells with %.")
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else _SCHEMES.get(parts.scheme, 0)
    except ValueError as error:
        raise RefusedUrlError(f"The address is malformed ({error}).") from error
    if parts.scheme not in _SCHEMES:
        raise RefusedUrlError("An address begins with http:// or https://, or is a data URL.")
    host = parts.netloc.removesuffix(f":{parts.port}" if parts.port is not None else ":")
    if "@" in parts.netloc or not _HOST.fullmatch(host) or not port:
        raise RefusedUrlError("An address names a host, perhaps a port, and nobody's name or password.")
    if not _is_allowed((parts.hostname or "").rstrip("."), policy.allowed_hosts):
        raise RefusedUrlError("The host of the address is not one of those that pictures are read from.")
    return parts, port


def _is_allowed(host: str, allowed: Sequence[str]) -> bool:
    names = [name.lower().rstrip(".") for name in allowed]
    return any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in names)


def _hop(parts: SplitResult, port: int, policy: UrlPolicy, deadline: float, resolve: Resolve, dial: Dial) -> bytes | str:
    """The picture at an address, or the address that it redirects to."""
    host = parts.hostname or ""
    try:
        addresses = _in_time(lambda: resolve(host, port), min(policy.connect_s, _left(deadline)))
        if not addresses or not all(is_public(address) for address in addresses):
            raise RefusedUrlError("The host of the address is within a private network, or cannot be found.")
        with _connected(addresses, port, policy, deadline, dial) as plain:
            plain.settimeout(min(policy.connect_s, _left(deadline)))
            secure = ssl.create_default_context() if parts.scheme == "https" else None
            with secure.wrap_socket(plain, server_hostname=host.rstrip(".")) if secure else plain as wire:
                return _asked(parts, _Wire(wire, policy.read_s, deadline), policy)
    except RefusedUrlError:
        raise
    except TimeoutError as error:
        raise RefusedUrlError("The host of the address took too long to answer.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RefusedUrlError(f"The host of the address cannot be reached, or does not speak HTTP as it should ({type(error).__name__}).") from error


def _asked(parts: SplitResult, wire: "_Wire", policy: UrlPolicy) -> bytes | str:
    connection = http.client.HTTPConnection(parts.netloc)
    connection.sock = cast(Any, wire)  # nothing is looked up or dialled any more: the name only stands in the Host header
    headers = {"Host": parts.netloc, "Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "foveal", "Connection": "close"}
    connection.request("GET", parts._replace(scheme="", netloc="", fragment="").geturl() or "/", headers=headers)
    response = connection.getresponse()
    if response.status in _REDIRECTS and (place := response.getheader("Location")):
        return place
    if response.status != 200:
        raise RefusedUrlError(f"The host of the address answers {response.status}; 200 and a picture are wanted.")
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        raise RefusedUrlError("The host of the address sends its answer packed; a picture is wanted as it is.")
    if (response.length or 0) > policy.most_bytes:
        raise RefusedUrlError(f"The picture at the address has more than the {policy.most_bytes:,} bytes that are taken.")
    said = bytearray()
    while len(said) <= policy.most_bytes and (step := response.read(_STEP)):
        said += step
        if not _STARTS.match(said):
            break
    picture = _picture(bytes(said), policy)
    if response.length:
        raise RefusedUrlError("The answer at the address is cut short; a whole picture is wanted.")
    return picture


def _picture(data: bytes, policy: UrlPolicy) -> bytes:
    if len(data) > policy.most_bytes:
        raise RefusedUrlError(f"The picture at the address has more than the {policy.most_bytes:,} bytes that are taken.")
    if not _STARTS.match(data):
        raise RefusedUrlError("What is at the address is no picture, whatever it is said to be; PNG, JPEG, WEBP, BMP, GIF or TIFF is wanted.")
    return data


class _Wire(io.RawIOBase):
    """A connected socket on which every step ends within `read_s` seconds, and all of them by `deadline`; what http.client takes for a socket."""

    def __init__(self, wire: socket.socket, read_s: float, deadline: float) -> None:
        self._wire, self._read_s, self._deadline = wire, read_s, deadline

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of any raw stream; TimeoutError when a time is over."""
        self._wire.settimeout(min(self._read_s, _left(self._deadline)))
        return self._wire.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        """As of a socket; TimeoutError when a time is over."""
        self._wire.settimeout(min(self._read_s, _left(self._deadline)))
        self._wire.sendall(data)

    def close(self) -> None:
        """Nothing: whoever opened the socket closes it."""

    def makefile(self, mode: str) -> io.BufferedReader:
        """What an answer is read from."""
        assert mode == "rb"
        return io.BufferedReader(self, _STEP)


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _connected(addresses: Sequence[str], port: int, policy: UrlPolicy, deadline: float, dial: Dial) -> socket.socket:
    """A connection to the first of the addresses that takes one."""
    until = min(deadline, time.monotonic() + policy.connect_s)
    for number, address in enumerate(addresses, 1):
        try:
            return dial(address, port, _left(until))
        except OSError:
            if number == len(addresses):
                raise
    raise AssertionError("no address was given")


def _in_time(work: Callable[[], Sequence[str]], seconds: float) -> list[str]:
    """What `work` returns; TimeoutError when it takes longer. The system's look-up of names knows no limit, so it is left behind."""
    done: queue.Queue[Sequence[str] | Exception] = queue.Queue()

    def run() -> None:
        try:
            done.put(work())
        except Exception as error:  # handed over to the thread that waits
            done.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        found = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return list(found)


def _resolve(host: str, port: int) -> list[str]:
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def _dial(address: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((address, port), timeout=seconds)
