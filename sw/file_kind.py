"""Recognition of files that are not what their name implies: failed downloads, and models in other formats.

If a checkpoint cannot be read, this module finds out what the file is and what the user can do. It uses only the first
bytes of a file and the names in a folder, and never unpacks or executes anything.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from sw.errors import CheckpointError

__all__ = ["HEAD_BYTES", "absence", "folder_kind", "other_kind", "path_kind", "read_small", "unfinished"]

HEAD_BYTES = 512
"""Bytes of a file that `other_kind` looks at."""

LAYOUT = "a folder with config.json, model.safetensors and tokenizer.json"

_AGAIN = "the download did not fetch the file itself: download it again"
_GGUF = (f"a GGUF file, the format of llama.cpp and bitnet.cpp, which is not supported: download the model as {LAYOUT} "
         "(for microsoft/bitnet-b1.58-2B-4T-gguf that is microsoft/bitnet-b1.58-2B-4T)")
_PICKLE = ("a PyTorch file, which is not supported because loading it can run code: download the model as "
           "safetensors, or convert it on a computer where that is acceptable, with from_pretrained and then "
           "save_pretrained of transformers")
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file that it stands for: run `git lfs "
     "pull` in the folder, or download the file itself"),
    (b"# xet version", f"an Xet pointer, not the file that it stands for: {_AGAIN}"),
    (b"GGUF", _GGUF),
    (b"PK\x03\x04", _PICKLE),
    (b"\x80\x02", _PICKLE), (b"\x80\x03", _PICKLE), (b"\x80\x04", _PICKLE), (b"\x80\x05", _PICKLE),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\xfd7zXZ", "an xz archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file, a model of TensorFlow, which is not supported: download the model as safetensors"),
    (b"\x93NUMPY", "a NumPy array, not a part of a checkpoint"),
    (b"BN158IMG", "a model image that `bitnet-fpga pack` wrote: give the checkpoint's folder, and the image as "
     "--image"),
)
"""Beginnings of files, and what they are."""

_ERROR_TEXTS = (
    b"entry not found", b"invalid username or password", b"invalid credentials", b"access denied", b"access to model",
    b"not found", b"unauthorized", b"forbidden", b"repository not found", b"internal server error", b"bad gateway",
    b"temporary redirect", b"too many requests", b"service unavailable", b"gateway time", b"error code", b"error:",
)
"""First bytes, in lower case, of error texts that a server sends in place of a file."""

_ERROR_KEYS = (b'"error', b'"message"', b'"detail"', b'"status', b'"code"', b'"success"')
"""First bytes, in lower case, of the first key of a JSON error that a server sends in place of a file."""

_UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".aria2", ".download", ".tmp")
"""Name endings of unfinished downloads."""


def other_kind(head: bytes) -> str | None:
    """What a file is, by its first `HEAD_BYTES`, with advice; None if no wrong kind is recognised."""
    if not head:
        return f"empty: {_AGAIN}"
    if head[7:9] == b"\0{":  # the length of a safetensors header may look like the beginning of anything
        return None
    if not any(head):
        return "filled with zeros: the download reserved the space and did not finish; download it again"
    return next((kind for beginning, kind in _BEGINNINGS if head.startswith(beginning)), None) or _page(head)


def _page(head: bytes) -> str | None:
    """Whether the content is an error or login page that a server sent in place of the file."""
    text = head[:HEAD_BYTES].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if text.startswith(b"<"):
        return f"an HTML or XML page, as a server sends for an error or a login: {_AGAIN}"
    if text.startswith(_ERROR_TEXTS) or (text.startswith(b"{") and text[1:].lstrip().startswith(_ERROR_KEYS)):
        shown = " ".join(head[:120].decode(errors="replace").split())
        return f"an error message of a server ({shown!r}): {_AGAIN}"
    return None


def absence(path: Path) -> str:
    """Why there is no file at a path, to continue a sentence that begins with the path."""
    if path.is_symlink() and not path.exists():
        return ("does not exist: the symbolic link points to a missing file, as after a cache was cleared; download it "
                "again")
    return "does not exist or is not a file"


def read_small(path: Path, most: int) -> bytes:
    """Content of a file of at most `most` bytes. Raises CheckpointError if it is larger or not the expected kind."""
    if not path.is_file():
        raise CheckpointError(f"{path} {absence(path)}")
    try:
        if path.stat().st_size > most:
            raise CheckpointError(f"{path} is larger than {most} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    other = other_kind(content[:HEAD_BYTES])
    if other:
        raise CheckpointError(f"{path} is {other}")
    return content


def _hub_name(path: Path) -> bool:
    """Whether a path that does not exist looks like the name of a model on the hub, `owner/model`."""
    return not path.is_absolute() and len(path.parts) == 2 and not path.parent.exists()


def path_kind(path: Path) -> str:
    """Why a path is neither a checkpoint nor a model image, to continue a sentence that begins with the path."""
    if not path.exists():
        if _hub_name(path):
            return (f"is not a folder; if it is the name of a model on the Hugging Face hub, download it first: "
                    f"hf download {path} --local-dir {path.name}")
        return "is not a folder"
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        return f"is not a folder and cannot be read: {error.strerror}"
    if path.name.endswith((".safetensors", ".json")) and not other_kind(head):
        return f"is a file: give the folder it is in, which has to be {LAYOUT}"
    if other := other_kind(head):
        return f"is {other}"
    prompts = ": give a file of prompts as --batch" if path.suffix == ".jsonl" else ""
    return f"is neither a checkpoint ({LAYOUT}) nor a model image (a file that `bitnet-fpga pack` wrote){prompts}"


_MEMBERS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((".gguf",), "{} is " + _GGUF),
    (("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"),
     "{} belongs to a LoRA adapter, which is not a complete model: merge it into its base model (peft's "
     "merge_and_unload, then save_pretrained); merged weights are no longer ternary unless they are quantised again"),
    ((".safetensors",), "{} has another name: rename it to model.safetensors, or, if it is one of several shards, "
     "download model.safetensors.index.json, which lists them"),
    ((".bin", ".bin.index.json", ".pth", ".pt", ".ckpt"), "{} is " + _PICKLE),
    ((".h5", ".msgpack", ".onnx", ".onnx_data", ".npz"),
     "{} is a model in another format: download the model as safetensors"),
)
"""Endings of names in a folder without the tensors of a checkpoint, and what such a file means."""


def unfinished(folder: Path) -> str | None:
    """Sentence about an unfinished download in a folder; None if there is none."""
    waiting = folder / ".cache" / "huggingface" / "download"  # of the hub's own client
    names = sorted(entry.name for place in (folder, waiting) if place.is_dir() for entry in place.iterdir())
    found = next((name for name in names if name.lower().endswith(_UNFINISHED)), None)
    return found and f"{found} is an unfinished download: finish it, or start it again"


def folder_kind(folder: Path) -> str | None:
    """Description of a folder that is not a checkpoint, with advice; None if nothing is recognised."""
    names = sorted(entry.name for entry in folder.iterdir())
    for endings, sentence in _MEMBERS:
        found = next((name for name in names if name.lower().endswith(endings)), None)
        if found:
            return unfinished(folder) or sentence.format(found)
    below = next((path.parent for pattern in ("*/config.json", "snapshots/*/config.json")
                  for path in sorted(folder.glob(pattern))), None)
    return unfinished(folder) or (below and f"the checkpoint is in {below}: give that folder")
