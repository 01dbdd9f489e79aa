#!/usr/bin/env python3
"""estargz.py LAYOUT - checks that the layers of an OCI layout are eStargz, by its specification alone.

The footer leads to the table of contents, whose digest the manifest has; each chunk is read from its own offset, as a
program would that fetches single files, and compared with its digest; and the whole is a gzip archive that the
configuration's diff id names. Prints how many layers and files there were.
"""

import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile
import zlib
from pathlib import Path

LAYOUT = Path(sys.argv[1])


def blob(digest: str) -> bytes:
    data = (LAYOUT / "blobs" / digest.replace(":", "/")).read_bytes()
    assert sha256(data) == digest, digest
    return data


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def member(data: bytes, offset: int) -> bytes:
    """What is in the one gzip member that begins there."""
    return zlib.decompressobj(wbits=31).decompress(data[offset:])


def toc_offset(data: bytes) -> int:
    footer = data[-51:]
    assert footer[:4] == b"\x1f\x8b\x08\x04", footer
    length, kind, size = struct.unpack("<H2sH", footer[10:16])
    assert (length, kind, size) == (26, b"SG", 22), footer
    assert footer[32:38] == b"STARGZ", footer
    assert gzip.decompress(footer) == b""
    return int(footer[16:32], 16)


def check(data: bytes, descriptor: dict, diff_id: str) -> tuple[int, int]:
    plain = gzip.decompress(data)
    said = descriptor["annotations"]
    assert sha256(plain) == diff_id
    assert said["io.containers.estargz.uncompressed-size"] == str(len(plain))

    offset = toc_offset(data)
    with tarfile.open(fileobj=io.BytesIO(member(data, offset))) as last:
        (entry,) = last.getmembers()
        assert entry.name == "stargz.index.json"
        toc = last.extractfile(entry).read()
    assert sha256(toc) == said["containerd.io/snapshot/stargz/toc.digest"]
    toc = json.loads(toc)
    assert toc["version"] == 1

    whole, files, chunks = {}, {}, {}
    for entry in toc["entries"]:
        name = entry["name"]
        if entry["type"] != "chunk":
            assert name not in files, name
            files[name] = entry
        if entry["type"] in ("reg", "chunk") and files[name].get("size"):
            content = member(data, entry["offset"])
            assert sha256(content) == entry["chunkDigest"], entry
            assert entry.get("chunkSize", len(content)) == len(content), entry
            before = whole.setdefault(name, b"")
            assert entry.get("chunkOffset", 0) == len(before), entry
            whole[name] = before + content
            chunks[name] = chunks.get(name, 0) + 1

    kinds = {tarfile.DIRTYPE: "dir", tarfile.REGTYPE: "reg", tarfile.AREGTYPE: "reg", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink",
             tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        members = archive.getmembers()
        names = [m.name + ("/" if m.isdir() else "") for m in members]
        assert names[0] == ".no.prefetch.landmark" and names[-1] == "stargz.index.json", names
        assert set(names[:-1]) == set(files), set(names[:-1]) ^ set(files)
        for name, found in zip(names[:-1], members):
            entry = files[name]
            assert kinds[found.type] == entry["type"], entry
            assert (found.mode, found.uid, found.gid) == (entry["mode"], entry["uid"], entry["gid"]), entry
            assert found.linkname == entry.get("linkName", ""), entry
            if found.isreg():
                content = archive.extractfile(found).read()
                assert found.size == entry.get("size", 0) and whole.get(name, b"") == content, entry
                assert not content or entry["digest"] == sha256(content), entry
    assert whole[".no.prefetch.landmark"] == b"\x0f"
    return max(chunks.values()), len(files)


def main() -> None:
    index = json.loads((LAYOUT / "index.json").read_bytes())
    (entry,) = index["manifests"]
    manifest = json.loads(blob(entry["digest"]))
    diff_ids = json.loads(blob(manifest["config"]["digest"]))["rootfs"]["diff_ids"]
    for descriptor, diff_id in zip(manifest["layers"], diff_ids, strict=True):
        assert descriptor["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
        chunks, files = check(blob(descriptor["digest"]), descriptor, diff_id)
        print(f"files={files} chunks={chunks}")


main()
