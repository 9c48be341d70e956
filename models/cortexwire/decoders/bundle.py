"""A bundle is a folder of three files: `manifest.json`, `decoder.onnx` and `MODEL_CARD.md`.

The manifest names the SHA-256 of the other two, so the hash of the manifest identifies the whole bundle.
Nothing in a bundle is code or a pickle.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import onnx

from cortexwire.decoders.graph import (
    Parameters,
    check_graph,
    check_self_contained,
    default_parameters,
    digest,
    parse_graph,
)
from cortexwire.decoders.manifest import Manifest, encode_manifest, parse_manifest
from cortexwire.errors import BundleError

MANIFEST: Final = "manifest.json"
MODEL: Final = "decoder.onnx"
CARD: Final = "MODEL_CARD.md"
FILES: Final = (MODEL, MANIFEST, CARD)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle in memory.

    Attributes:
        path: The folder that it was read from or is meant for.
        manifest: What the manifest says.
        model: The bytes of `decoder.onnx`.
        card: The text of `MODEL_CARD.md`.
        parameters: Default value of each parameter, float32, read-only.
        sha256: Hash of the manifest's bytes, and thereby of the bundle.
    """

    path: Path
    manifest: Manifest
    model: bytes
    card: str
    parameters: Parameters
    sha256: str

    @property
    def hash(self) -> int:
        """The first 8 bytes, little-endian, of `sha256`: the bundle's number in every output."""
        return short_hash(self.sha256)


def short_hash(sha256: str) -> int:
    """Return the first 8 bytes of a hexadecimal SHA-256 as a little-endian 64-bit number."""
    return int.from_bytes(bytes.fromhex(sha256)[:8], "little")


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: A file is missing, a hash differs, the manifest contradicts itself, or the graph is not
            what the manifest says.
    """
    folder = Path(path)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"{folder}: expected a bundle of {', '.join(FILES)}; missing: {', '.join(missing)}")
    return verify({name: (folder / name).read_bytes() for name in FILES}, folder)


def verify(files: Mapping[str, bytes], path: Path) -> Bundle:
    """Check the bytes of a bundle's files against each other.

    Args:
        files: The content of each of the three files by name.
        path: Named in messages, and the result's `path`.

    Raises:
        BundleError: As `load_bundle`.
    """
    manifest = parse_manifest(files[MANIFEST], str(path / MANIFEST))
    for name in (MODEL, CARD):
        want, came = manifest.files.get(name), hashlib.sha256(files[name]).hexdigest()
        if want != came:
            raise BundleError(f"{path / name}: expected sha256 {want}, got {came}")
    where = str(path / MODEL)
    model = parse_graph(files[MODEL], where)
    check_graph(model, manifest, where)
    return Bundle(
        path=path,
        manifest=manifest,
        model=files[MODEL],
        card=files[CARD].decode(),
        parameters=MappingProxyType(default_parameters(model, manifest)),
        sha256=hashlib.sha256(files[MANIFEST]).hexdigest(),
    )


def assemble(model: onnx.ModelProto, manifest: Manifest, card: str) -> dict[str, bytes]:
    """Return the bytes of a bundle's files, with every hash of the manifest filled in.

    Raises:
        BundleError: The model keeps tensors in other files.
    """
    check_self_contained(model, MODEL)
    content = {MODEL: model.SerializeToString(deterministic=True), CARD: card.encode()}
    defaults = default_parameters(model, manifest)
    sealed = msgspec.structs.replace(
        manifest,
        files={name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
        inputs=tuple(
            msgspec.structs.replace(spec, sha256=digest(defaults[spec.name])) if spec.name in defaults else spec
            for spec in manifest.inputs
        ),
    )
    return {**content, MANIFEST: encode_manifest(sealed)}


def write_bundle(
    path: str | os.PathLike[str],
    model: onnx.ModelProto,
    manifest: Manifest,
    card: str,
    *,
    replace: bool = False,
) -> Bundle:
    """Write a bundle; the folder appears whole or not at all.

    Args:
        path: The folder to make; its parent must exist.
        model: The single-step graph.
        manifest: Hashes in it are filled in.
        card: The text of the model card.
        replace: Whether an existing bundle may be replaced; a folder that holds anything else never is.

    Returns:
        The bundle as `load_bundle` would read it.

    Raises:
        BundleError: The parts do not fit each other, or the folder is taken.
    """
    folder = Path(path)
    files = assemble(model, manifest, card)
    bundle = verify(files, folder)
    check_free(folder, replace)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".bundle-") as scratch:
        fresh, old = Path(scratch, "new"), Path(scratch, "old")
        fresh.mkdir()
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        if folder.exists():
            shutil.move(folder, old)
        fresh.rename(folder)
    return bundle


def check_free(path: str | os.PathLike[str], replace: bool) -> None:
    """See that a bundle can be written here, which is worth knowing before it is fitted.

    Raises:
        BundleError: There is something else, or a bundle that is not to be replaced, or no folder to put it in.
    """
    folder = Path(path)
    if not folder.absolute().parent.is_dir():
        raise BundleError(f"{folder}: expected the folder {folder.absolute().parent} to put it in, got none")
    present = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder}: expected a folder or nothing, got a file")
    if present - set(FILES):
        raise BundleError(f"{folder}: expected nothing but a bundle, got {sorted(present - set(FILES))}")
    if present and not replace:
        raise BundleError(f"{folder}: expected no bundle yet, got one; replace it with --replace")
