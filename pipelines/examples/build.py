"""Builds the embedded example, `quickstart.warc.gz` and `quickstart.jsonl.gz`, from `documents/*.yaml`.

The YAML files are the source of truth: every text was written for this project, every name, host and
number in them is invented. They also say what each document is there to show, so that tests and the
README's tables come from the same place. Run it in a checkout:

    python -m florilegium.pipelines.examples.build

The WARC records are written by hand, since the point is what a library would tidy away: wrong or
absent charsets, chunked bodies, a truncated page. Nothing depends on the clock or on the zlib build
(bodies with `Content-Encoding: gzip` use stored blocks); only the outer compression may differ
between machines, so compare the files decompressed.
"""

import base64
import gzip
import hashlib
import html
import json
import re
import struct
import sys
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Collection",
    "Document",
    "Host",
    "Line",
    "build",
    "json_lines",
    "read_collection",
    "record_id",
    "tables",
    "warc_records",
]

HERE = Path(__file__).resolve().parent
WARC_NAME = "quickstart.warc.gz"
JSONL_NAME = "quickstart.jsonl.gz"
EPOCH = datetime(2021, 1, 1, tzinfo=UTC)
SPAN_MINUTES = 4 * 365 * 24 * 60
CRAWLED = "2026-03-02T04:00:00Z"
REVISITED = "2026-03-09T04:00:00Z"
CHUNK_BYTES = 700
STORED_BLOCK_BYTES = 65_535

Declared = Literal["header", "meta", "nowhere"]


class Model(BaseModel):
    """A strict part of the YAML files."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Host(Model):
    """A web site: what stands around its texts, and how its server sends them."""

    name: str
    navigation: list[str]
    footer: str
    charset: str = "utf-8"
    declared: Declared = "header"
    chunked: bool = False
    gzip: bool = False
    layout: Literal["semantic", "divisions", "bare"] = "semantic"


class Document(Model):
    """One text, either a page of the WARC file (`page`) or a line of the JSONL file (`community`)."""

    id: str
    page: str | None = None  # host/path
    community: str | None = None
    title: str = ""
    text: str = ""
    html: str | None = None  # instead of a page made from title and text
    hex: str | None = None  # a body that is not HTML
    url: str | None = None
    license: str | None = None  # lines only; default: the community's
    created: str | None = None  # default: drawn from a hash of the id; "unknown" leaves it out
    same_as: str | None = None
    replace: list[tuple[str, str]] = Field(default_factory=list)

    # how the page is sent, where it differs from its host
    charset: str | None = None
    declared: Declared | None = None
    chunked: bool | None = None
    gzip: bool | None = None
    layout: Literal["semantic", "divisions", "bare"] | None = None
    status: int = 200
    type: str = "text/html"
    truncated: int | None = None  # bytes of the body that the crawler kept
    splice: dict[str, str] = Field(default_factory=dict)  # marks replaced by raw bytes, in hex

    # what it is meant to show
    grades: dict[str, Literal[2, 3]] = Field(
        default_factory=dict
    )  # prosocial dimensions, as a careful reader sees them
    near_miss: list[str] = Field(default_factory=list)  # dimensions that it only seems to have: grade 0 or 1
    harm: list[str] = Field(default_factory=list)  # toxic
    about: list[str] = Field(default_factory=list)  # topical
    expect: list[str] = Field(default_factory=list)  # rules of the policy, or duplicate, near_duplicate
    failed: str | None = None  # the reason for which it becomes no document
    skipped: str | None = None  # the kind under which it is passed over
    flags: list[str] = Field(default_factory=list)  # of the document
    personal_data: dict[str, int] | None = None
    language: str = "en"

    @property
    def source_id(self) -> str:
        """The id in its file: a JSONL line's `id`, or a record's `WARC-Record-ID`."""
        return record_id(self.address) if self.page else self.id

    @property
    def address(self) -> str:
        """The URL of the page or of the post."""
        if self.page:
            return f"https://{self.page}"
        return self.url or f"https://forum.example/{self.community}/{self.id}"


class Line(Model):
    """A line of the JSONL file that is written as it stands."""

    id: str
    line: str
    encoding: str = "utf-8"
    failed: str | None = None
    flags: list[str] = Field(default_factory=list)


class Collection(Model):
    """All of `documents/`, in a fixed order."""

    hosts: dict[str, Host]
    communities: dict[str, dict[str, str]]
    documents: list[Document]
    lines: list[Line]
    requests: list[str]
    revisits: list[str]
    metadata: list[str]

    def pages(self) -> list[Document]:
        """What becomes a WARC record, ordered by a hash of the id so that kinds are mixed."""
        return sorted((one for one in self.documents if one.page), key=lambda one: _hash(one.id))

    def posts(self) -> list[Document]:
        """What becomes a JSONL line, in the same manner."""
        return sorted((one for one in self.documents if one.community), key=lambda one: _hash(one.id))


def read_collection(folder: Path = HERE / "documents") -> Collection:
    """Every YAML file of a folder, with copies resolved; raises `ValueError` where they contradict themselves."""
    places: dict[str, Any] = yaml.safe_load((folder / "places.yaml").read_text("utf-8"))
    records: dict[str, Any] = yaml.safe_load((folder / "records.yaml").read_text("utf-8"))
    entries: list[dict[str, Any]] = list(records.pop("pages"))
    for path in sorted(folder.glob("*.yaml")):
        if path.name not in ("places.yaml", "records.yaml"):
            entries += yaml.safe_load(path.read_text("utf-8"))
    by_id = {entry["id"]: entry for entry in entries}
    if len(by_id) < len(entries):
        raise ValueError("two documents have one id; give each its own")
    documents = [Document.model_validate(_resolve(entry, by_id)) for entry in entries]
    for one in documents:
        if (one.page is None) == (one.community is None):
            raise ValueError(f"{one.id}: name either `page` or `community`")
    return Collection(documents=documents, **places, **records)


def _resolve(entry: dict[str, Any], by_id: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An entry with the title and the edited text of the one that it copies."""
    if "same_as" not in entry:
        return entry
    original = by_id[entry["same_as"]]
    text = original["text"]
    for old, new in entry.get("replace", []):
        if text.count(old) != 1:
            raise ValueError(f"{entry['id']}: {old!r} must stand once in {original['id']}")
        text = text.replace(old, new)
    return {"title": original["title"], **entry, "text": text}


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def json_lines(collection: Collection) -> Iterator[bytes]:
    """The lines of the JSONL file without their line ends, the broken ones spread among the others."""
    lines = {one.id: one.line.encode(one.encoding) for one in collection.lines}
    for one in collection.posts():
        record = {
            "id": one.id,
            "text": one.text.strip(),
            "title": one.title,
            "url": one.address,
            "created": one.created or _created(one.id),
            "license": one.license or collection.communities[one.community or ""]["license"],
            "community": one.community,
        }
        if one.created == "unknown":
            del record["created"]
        lines[one.id] = json.dumps(record, ensure_ascii=False).encode()
    for name in sorted(lines, key=_hash):
        yield lines[name]


def _created(name: str) -> str:
    return (EPOCH + timedelta(minutes=_hash(f"created:{name}") % SPAN_MINUTES)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _inline(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text, quote=False))


def _blocks(text: str) -> Iterator[str]:
    """HTML of the light markup used in the YAML files: paragraphs, `## ` headings, `- ` and `1. ` lists."""
    text = re.sub(r"(?m)^(\d+\. .*)\n\n(?=\d+\. )", r"\1\n", text.strip())  # one list, though its items stand apart
    for block in re.split(r"\n\s*\n", text):
        for tag, lines in _runs(block.splitlines()):
            if tag == "h2":
                yield from (f"<h2>{_inline(line)}</h2>" for line in lines)
            elif tag == "p":
                yield "<p>" + "<br>\n".join(map(_inline, lines)) + "</p>"
            else:
                items = "\n".join(f"<li>{_inline(line)}</li>" for line in lines)
                # Without the division, extractors take a list of short items for a menu.
                yield f'<div class="list"><{tag}>\n{items}\n</{tag}></div>'


def _runs(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Neighbouring lines of one kind together, without their markers."""
    runs: list[tuple[str, list[str]]] = []
    for line in lines:
        for tag, marker in (("h2", r"## "), ("ul", r"- "), ("ol", r"\d+\. "), ("p", r"")):
            if found := re.match(marker, line):
                if not runs or runs[-1][0] != tag:
                    runs.append((tag, []))
                runs[-1][1].append(line[found.end() :])
                break
    return runs


def _page(one: Document, host: Host) -> str:
    """The HTML of a page in its site's surroundings."""
    charset = one.charset or host.charset
    meta = f'<meta charset="{charset}">\n' if (one.declared or host.declared) == "meta" else ""
    links = [f'<a href="/{re.sub("[^a-z]+", "-", name.lower())}">{_inline(name)}</a>' for name in host.navigation]
    head = f"{meta}<title>{_inline(one.title)} | {_inline(host.name)}</title>"
    body = "\n".join([*([f"<h1>{_inline(one.title)}</h1>"] if one.title else []), *_blocks(one.text)])
    layout = one.layout or host.layout
    if layout == "semantic":
        navigation = "".join(f"<li>{link}</li>" for link in links)
        body = (
            f'<header><nav><a href="/">{_inline(host.name)}</a><ul>{navigation}</ul></nav></header>\n'
            f"<main><article>\n{body}\n</article></main>\n<footer><p>{_inline(host.footer)}</p></footer>"
        )
    elif layout == "divisions":
        body = (
            f'<div id="header"><div class="menu">{" | ".join(links)}</div></div>\n'
            f'<div id="content" class="post">\n{body}\n</div>\n<div id="footer">{_inline(host.footer)}</div>'
        )
    return f'<!DOCTYPE html>\n<html lang="{one.language}">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _stored_gzip(data: bytes) -> bytes:
    """A gzip member of stored blocks: valid everywhere and the same bytes whatever the zlib build."""
    blocks = [data[start : start + STORED_BLOCK_BYTES] for start in range(0, len(data), STORED_BLOCK_BYTES)] or [b""]
    body = b"".join(
        struct.pack("<BHH", index == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for index, block in enumerate(blocks)
    )
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return header + body + struct.pack("<II", zlib.crc32(data), len(data))


def _chunks(data: bytes) -> bytes:
    """HTTP/1.1 chunked transfer coding (RFC 9112, section 7.1)."""
    parts = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _response(one: Document, host: Host) -> tuple[bytes, bytes]:
    """An HTTP response's header block and its body as sent."""
    charset = one.charset or host.charset
    if one.hex is not None:
        body = bytes.fromhex(one.hex)
    else:
        body = (_page(one, host) if one.html is None else one.html).encode(charset, "xmlcharrefreplace")
    for mark, replacement in one.splice.items():
        body = body.replace(mark.encode(), bytes.fromhex(replacement))
    declared = (one.declared or host.declared) == "header" and one.hex is None
    headers = [
        f"HTTP/1.1 {one.status} {'OK' if one.status == 200 else 'Not Found'}",
        "Server: florist/1.0",
        f"Content-Type: {one.type}{f'; charset={charset}' if declared else ''}",
    ]
    if host.gzip if one.gzip is None else one.gzip:
        body = _stored_gzip(body)
        headers.append("Content-Encoding: gzip")
    if host.chunked if one.chunked is None else one.chunked:
        body = _chunks(body)
        headers.append("Transfer-Encoding: chunked")
    else:
        headers.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*headers, "", ""]).encode(), body[: one.truncated]


def record_id(name: str) -> str:
    """A WARC-Record-ID that depends on the name alone."""
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}>"


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def _record(kind: str, name: str, block: bytes, content_type: str, date: str = CRAWLED, **fields: str) -> bytes:
    """One WARC/1.1 record; underscores in field names stand for hyphens."""
    lines = [
        "WARC/1.1",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: {record_id(name)}",
        f"WARC-Date: {date}",
        *(f"{field.replace('_', '-')}: {value}" for field, value in fields.items()),
        f"WARC-Block-Digest: {_digest(block)}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(block)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + block + b"\r\n\r\n"


def warc_records(collection: Collection) -> Iterator[bytes]:
    """The records of the WARC file (ISO 28500:2017), each to become one gzip member."""
    information = "software: florilegium.pipelines.examples.build\r\nformat: WARC File Format 1.1\r\n"
    yield _record("warcinfo", WARC_NAME, information.encode(), "application/warc-fields", WARC_Filename=WARC_NAME)
    warcinfo = record_id(WARC_NAME)
    revisits: list[bytes] = []
    for one in collection.pages():
        host, _, path = (one.page or "").partition("/")
        header, body = _response(one, collection.hosts[host])
        common = {"WARC_Warcinfo_ID": warcinfo, "WARC_Target_URI": one.address}
        digest = _digest(body)
        response = {**common, "WARC_Payload_Digest": digest}
        if one.truncated is not None:
            response["WARC_Truncated"] = "length"
        if one.id in collection.requests:
            block = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: gatherer/1.0\r\nAccept: text/html\r\n\r\n"
            name = f"request:{one.address}"
            request = {**common, "WARC_Concurrent_To": record_id(one.address)}
            yield _record("request", name, block.encode(), "application/http; msgtype=request", **request)
        yield _record("response", one.address, header + body, "application/http; msgtype=response", **response)
        if one.id in collection.metadata:
            fields = {**common, "WARC_Refers_To": record_id(one.address)}
            block = f"via: https://{host}/\r\nhopsFromSeed: L\r\nfetchTimeMs: 41\r\n"
            yield _record("metadata", f"metadata:{one.address}", block.encode(), "application/warc-fields", **fields)
        if one.id in collection.revisits:
            fields = {
                **response,
                "WARC_Profile": "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest",
                "WARC_Refers_To": record_id(one.address),
                "WARC_Refers_To_Target_URI": one.address,
                "WARC_Refers_To_Date": CRAWLED,
            }
            kind = "application/http; msgtype=response"
            revisits.append(_record("revisit", f"revisit:{one.address}", header, kind, REVISITED, **fields))
    yield from revisits


MARKS = ("<!-- tables: written by build.py -->", "<!-- end of tables -->")


def tables(collection: Collection) -> str:
    """Markdown: what each document is meant to show."""
    sections: dict[tuple[str, str], dict[str, list[str]]] = {
        ("Left out by a rule", "reason"): {},
        ("Above a harm floor, if the classifier agrees (`max_toxic`)", "harm"): {},
        ("Failed, skipped, or saved with a flag", "as"): {},
        ("Harm as a topic only, to be kept", "harm"): {},
        ("Prosocial dimensions, grade 2 or **3**", "dimension"): {},
        ("Prosocial only in looks, grade 0 or 1", "dimension"): {},
        ("Languages other than English", "language"): {},
        ("Personal data to mask", "finds"): {},
    }
    rules, toxic, records, topical, dimensions, misses, languages, personal = sections.values()

    def add(rows: dict[str, list[str]], name: str, entry: str) -> None:
        rows.setdefault(name, []).append(entry)

    for one in sorted((*collection.documents, *collection.lines), key=lambda one: one.id):
        for name in (one.failed, *one.flags):
            if name:
                add(records, name, one.id)
        if isinstance(one, Line):
            continue
        if one.skipped:
            add(records, one.skipped, one.id)
        for names, rows in ((one.expect, rules), (one.harm, toxic), (one.about, topical), (one.near_miss, misses)):
            for name in names:
                add(rows, name, one.id)
        for name, grade in one.grades.items():
            add(dimensions, name, f"**{one.id}**" if grade == 3 else one.id)
        if one.language != "en":
            add(languages, one.language, one.id)
        if one.personal_data is not None:
            found = ", ".join(f"{count} {kind}" for kind, count in sorted(one.personal_data.items()))
            add(personal, found or "nothing", one.id)
    return "\n".join(_table(title, column, rows) for (title, column), rows in sections.items())


def _table(title: str, column: str, rows: dict[str, list[str]]) -> str:
    body = "\n".join(f"| {name} | {len(ids)} | {', '.join(ids)} |" for name, ids in sorted(rows.items()))
    return f"### {title}\n\n| {column} | n | documents |\n|---|---|---|\n{body}\n"


def build(output: Path = HERE) -> list[Path]:
    """Writes both files, and the tables of a README.md that stands beside them; returns the paths."""
    collection = read_collection()
    warc, jsonl, readme = output / WARC_NAME, output / JSONL_NAME, output / "README.md"
    warc.write_bytes(b"".join(gzip.compress(record, 9, mtime=0) for record in warc_records(collection)))
    jsonl.write_bytes(gzip.compress(b"".join(line + b"\n" for line in json_lines(collection)), 9, mtime=0))
    if not readme.exists():
        return [warc, jsonl]
    before, _, rest = readme.read_text("utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    readme.write_text(f"{before}{MARKS[0]}\n\n{tables(collection)}\n{MARKS[1]}{after}", "utf-8")
    return [warc, jsonl, readme]


if __name__ == "__main__":
    for written in build():
        print(f"{written.name}: {written.stat().st_size:,} bytes", file=sys.stderr)
