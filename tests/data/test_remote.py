"""What is fetched from the network is what a policy allows, from the address that was checked; everything else is refused in one sentence."""

import base64
import socket
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_site import POLICY, PUBLIC, Site, picture

from foveal.data.images import ImageError, load_image
from foveal.data.remote import RefusedUrlError, UrlPolicy, fetch, is_public, is_url, read_url


def test_a_picture_comes_from_the_address_that_was_checked(site: Site) -> None:
    assert site.fetch("http://Pictures.Example/a%20b.png?x=1#there") == picture()
    assert site.paths == ["/a%20b.png?x=1"] and site.dialled == [(PUBLIC, 80)] and site.looked_up == ["pictures.example"]
    assert site.heads[0]["host"] == "Pictures.Example" and site.heads[0]["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & set(site.heads[0])
    assert site.fetch("http://a.cdn.example:8080") == picture()
    assert site.dialled[1] == (PUBLIC, 8080) and site.heads[1]["host"] == "a.cdn.example:8080"


def test_nothing_is_fetched_unless_hosts_are_named(site: Site) -> None:
    for url in ("http://pictures.example/a.png", "file:///etc/passwd", "/etc/passwd", "ftp://pictures.example/a.png", ""):
        with pytest.raises(RefusedUrlError, match="not read here"):
            site.fetch(url, UrlPolicy())
    assert not site.looked_up and not site.paths


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a.png",
        "http://pictures.example.evil.example/",
        "http://cdn.example/",
        "http://evilcdn.example/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/",
        "http://localhost/",
    ],
)
def test_hosts_that_are_not_named_are_never_looked_up(site: Site, url: str) -> None:
    with pytest.raises(RefusedUrlError, match=r"not one of those"):
        site.fetch(url)
    assert not site.looked_up and not site.dialled


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:80\\@pictures.example/",
        "http://pictures.example\\@127.0.0.1/",
        "http://pictures.example@127.0.0.1/",
        "http://127.0.0.1@pictures.example/",
        "http://user:word@pictures.example/",
        "http://@pictures.example/",
        "http://pictures.example%40127.0.0.1/",
        "http://pictures.example%2f@127.0.0.1/",
        "http://pictures.example:80@127.0.0.1/",
        "http://pictures.example:99999/",
        "http://pictures.example:0/",
        "http://pictures.example:8o/",
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "http://pictures.example\t/",
        "http://pictures.example/\r\nX-Header: 1",
        " http://pictures.example/",
        "http://pictures.example /",
        "http://\uff50ictures.example/",
        "http://pictures\u3002example/",
        "http:pictures.example/a.png",
        "http:///pictures.example/a.png",
        "//pictures.example/a.png",
        "https://",
        "file://pictures.example/etc/passwd",
        "gopher://pictures.example/",
        "ftp://pictures.example/a.png",
        "javascript:alert(1)",
        "http://pictures.example/" + "a" * 5000,
    ],
)
def test_addresses_that_two_readers_could_read_differently_are_refused(site: Site, url: str) -> None:
    for hosts in (POLICY.allowed_hosts, ("*",)):
        with pytest.raises(RefusedUrlError, match=r"^[A-Z][^\n]*\.$"):
            site.fetch(url, UrlPolicy(allowed_hosts=hosts))
    assert not site.looked_up and not site.dialled


INWARD = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.254"),
    *("192.0.0.8", "192.88.99.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "2001::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::", "2002:808:808::", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::7f00:1"),
]


@pytest.mark.parametrize("address", INWARD)
def test_a_name_that_means_an_address_within_is_refused(site: Site, address: str) -> None:
    assert not is_public(address)
    for answers in ([address], [PUBLIC, address], [address, PUBLIC], ["2606:4700::1111", PUBLIC, address]):
        site.names["pictures.example"] = [answers]
        with pytest.raises(RefusedUrlError, match="private network"):
            site.fetch("http://pictures.example/")
    assert not site.dialled and not site.paths


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@given(st.one_of(st.ip_addresses().map(str), st.text(max_size=20)))
def test_an_address_within_is_within_however_it_is_wrapped(address: str) -> None:
    public = is_public(address)
    if ":" not in address and address.count(".") == 3 and address.replace(".", "").isdigit():
        assert is_public(f"::ffff:{address}") == public
    assert not is_public(f"64:ff9b::{address}") and not is_public(f"::{address}")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "localhost", "localhost.", "0.0.0.0"])
def test_even_where_every_host_is_allowed_the_loopback_is_not(site: Site, host: str) -> None:
    with pytest.raises(RefusedUrlError, match=r"private network|cannot be reached"):  # by the system's own look-up and dialling
        fetch(f"http://{host}:{site.server.server_port}/a.png", UrlPolicy(allowed_hosts=("*",)))
    assert not site.paths


def test_a_name_is_looked_up_once_so_that_it_cannot_turn(site: Site) -> None:
    site.names["pictures.example"] = [[PUBLIC], ["127.0.0.1"]]
    assert site.fetch("http://pictures.example/") == picture()
    assert site.looked_up == ["pictures.example"] and site.dialled == [(PUBLIC, 80)]
    with pytest.raises(RefusedUrlError, match="private network"):
        site.fetch("http://pictures.example/")
    assert len(site.paths) == 1


def test_a_name_that_turns_at_a_redirect_is_refused_there(site: Site) -> None:
    site.names["pictures.example"] = [[PUBLIC], ["169.254.169.254"]]
    site.say = lambda wire, path: wire.send(b"", 302, Location="/again")
    with pytest.raises(RefusedUrlError, match="private network"):
        site.fetch("http://pictures.example/")
    assert site.paths == ["/"]


def test_a_name_without_address_is_refused(site: Site) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    for resolve in (unknown, lambda host, port: []):
        with pytest.raises(RefusedUrlError, match=r"reached|found"):
            fetch("http://pictures.example/", POLICY, resolve=resolve, dial=site.dial)
    assert not site.dialled


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_three_times_and_each_is_checked(site: Site, status: int) -> None:
    def hops(wire: Any, path: str) -> None:
        left = int(path[1:])
        wire.send(picture()) if left == 0 else wire.send(b"", status, Location=f"http://n{left}.cdn.example/{left - 1}")

    site.say = hops
    assert site.fetch("http://pictures.example/3") == picture()
    assert site.paths == ["/3", "/2", "/1", "/0"] and len(site.looked_up) == 4
    with pytest.raises(RefusedUrlError, match="more than 3"):
        site.fetch("http://pictures.example/4")


@pytest.mark.parametrize(
    "place",
    [
        "http://other.example/hit",
        "//other.example/hit",
        "http://127.0.0.1/hit",
        "http://user@pictures.example/hit",
        "http://127.0.0.1\\@pictures.example/hit",
        "file:///etc/passwd",
        "data:image/png;base64,iVBORw0KGgo=",
        "http://[::1/hit",
        "https://pictures.example:0/hit",
    ],
)
def test_a_redirect_to_what_is_not_allowed_is_not_followed(site: Site, place: str) -> None:
    site.say = lambda wire, path: wire.send(b"", 302, Location=place)
    with pytest.raises(RefusedUrlError):
        site.fetch("http://pictures.example/start")
    assert site.paths == ["/start"] and len(site.dialled) == 1


def test_proxies_of_the_environment_do_not_lead_around_the_policy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{site.server.server_port}")
    assert site.fetch("http://pictures.example/a") == picture()
    assert site.paths == ["/a"] and site.dialled == [(PUBLIC, 80)]  # a proxy would be asked for the whole address, and looked up


def test_data_urls_hold_their_picture(site: Site) -> None:
    encoded = base64.b64encode(picture()).decode()
    for head in ("data:image/png;base64,", "DATA:image/PNG;base64,", "data:;base64,", "data:image/png;charset=utf-8;name=a.png;base64,"):
        assert read_url(head + encoded) == picture()
    assert read_url("data:image/png;base64," + encoded.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")) == picture()
    assert read_url("data:image/png," + "".join(f"%{byte:02x}" for byte in picture())) == picture()


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,iVBORw0KGg",
        "data:image/png;base64,\u00e9\u00e9\u00e9\u00e9",
        "data:image/png;base64,iVBOR w0KGgo=",
        "data:text/html;base64,iVBORw0KGgo=",
        "data:text/html,<script>",
        "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(),
        "data:" + "a" * 1000 + ",",
        "data:image/png;base64," + base64.b64encode(picture() + bytes(200_000)).decode(),
    ],
)
def test_data_urls_that_hold_no_picture_are_refused(url: str) -> None:
    with pytest.raises(RefusedUrlError, match=r"^[A-Z].*\.$") as refused:
        read_url(url, POLICY)
    assert len(str(refused.value)) < 200


@given(st.text(max_size=40))
def test_no_text_brings_another_error_or_is_looked_up(text: str) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("looked up")

    for url in (text, f"http://{text}", f"http://pictures.example@{text}/", f"data:{text}", f"http://{text}@pictures.example/"):
        with suppress(RefusedUrlError):
            read_url(url, POLICY, resolve=never, dial=never)


def test_images_are_read_from_addresses_only_by_a_policy(site: Site) -> None:
    for url in ("http://pictures.example/a.png", "https://127.0.0.1/a.png", "HTTP://x/", "data:image/png;base64,iVBORw0KGgo=", "file:///etc/passwd"):
        assert is_url(url)
        with pytest.raises(ImageError, match="is an address"):
            load_image(url)
    with pytest.raises(ImageError, match="not one of those"):
        load_image("http://other.example/a.png", urls=POLICY)
    data = "data:image/png;base64," + base64.b64encode(picture()).decode()
    assert load_image(data, urls=UrlPolicy()).size == (6, 4)
    assert not is_url("a/b.png") and not is_url("C:\\a.png") and not site.paths
