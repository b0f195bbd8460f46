"""Bodies as archives hold them: every coding undone, lies told apart from damage."""

import gzip
import io
import zlib

import pytest
import zstandard
from fastwarc.stream_io import BrotliWriter
from florilegium.pipelines.sources.http import TooLarge, Undecodable, decode_body, parse_head

BODY = b"<p>" + b"words and more words " * 40 + b"</p>"


def response(body: bytes, *headers: str) -> tuple[bytes, bytes]:
    return "\r\n".join(["HTTP/1.1 200 OK", *headers]).encode() + b"\r\n\r\n" + body, body


def decoded(body: bytes, *headers: str, limit: int = 1 << 20) -> bytes:
    payload, _ = response(body, *headers)
    head = parse_head(payload)
    assert head is not None
    return decode_body(payload[head.length :], head, limit)


def chunked(body: bytes, size: int = 7) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class Kept(io.BytesIO):
    """Stays open when a writer closes it."""

    def close(self) -> None:
        self.seek(0)


def brotli(body: bytes) -> bytes:
    packed = Kept()
    writer = BrotliWriter(packed)
    writer.write(body)
    writer.close()
    return packed.getvalue()


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(body) + compressor.flush()


CODINGS = {
    "identity": lambda body: body,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "zstd": zstandard.compress,
    "br": brotli,
    "gzip, zstd": lambda body: zstandard.compress(gzip.compress(body)),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("in_chunks", [False, True])
def test_codings_are_undone(coding: str, in_chunks: bool) -> None:
    body = CODINGS[coding](BODY)
    headers = [f"Content-Encoding: {coding}"] + ["Transfer-Encoding: chunked"] * in_chunks
    assert decoded(chunked(body) if in_chunks else body, *headers) == BODY


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
def test_a_body_that_is_decoded_already_stays(coding: str) -> None:
    assert decoded(BODY, f"Content-Encoding: {coding}", "Transfer-Encoding: chunked") == BODY


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
def test_a_cut_or_damaged_body_is_undecodable(coding: str) -> None:
    whole = CODINGS[coding](BODY)
    with pytest.raises(Undecodable):
        decoded(whole[:-6], f"Content-Encoding: {coding}")
    with pytest.raises(Undecodable):
        decoded(b"\x00\x01\x02" + whole, f"Content-Encoding: {coding}")


def test_cut_chunks_are_undecodable() -> None:
    with pytest.raises(Undecodable):
        decoded(b"5\r\nwords\r\n5\r\nwo", "Transfer-Encoding: chunked")
    with pytest.raises(Undecodable):
        decoded(b"5\r\nwords\r\nnonsense\r\n", "Transfer-Encoding: chunked")
    assert decoded(b"5\r\nwords\r\n", "Transfer-Encoding: chunked") == b"words"


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate", "zstd", "br"])
def test_a_body_over_the_limit_is_too_large(coding: str) -> None:
    assert decoded(CODINGS[coding](BODY), f"Content-Encoding: {coding}", limit=len(BODY)) == BODY
    with pytest.raises(TooLarge):
        decoded(CODINGS[coding](BODY), f"Content-Encoding: {coding}", limit=len(BODY) - 1)


def test_bytes_after_a_gzip_stream_are_ignored() -> None:
    assert decoded(gzip.compress(BODY) + b"\r\ntrailing", "Content-Encoding: gzip") == BODY


@pytest.mark.parametrize(
    ("payload", "status", "content_type", "charset", "length"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: Text/HTML; Charset='ISO-8859-1'\r\n\r\nx",
            200,
            "text/html",
            "ISO-8859-1",
            66,
        ),
        (b"HTTP/2 404\r\n\r\n", 404, "", "", 14),
        (b"HTTP/1.0 301 \ncontent-type:text/plain\n\nbody", 301, "text/plain", "", 39),
        (b"HTTP/1.1 200 OK\r\nno colon\r\nX: y", 200, "", "", 31),
    ],
)
def test_heads(payload: bytes, status: int, content_type: str, charset: str, length: int) -> None:
    head = parse_head(payload)
    assert head is not None
    assert (head.status, head.content_type, head.charset, head.length) == (status, content_type, charset, length)


def test_what_is_no_response_has_no_head() -> None:
    assert parse_head(b"GET / HTTP/1.1\r\n\r\n") is None
    assert parse_head(b"") is None
