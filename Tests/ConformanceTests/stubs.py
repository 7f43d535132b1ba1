"""Generates Python stubs from proto/ into a temporary folder and makes them importable."""

import atexit
import pathlib
import shutil
import sys
import tempfile

import grpc_tools
from grpc_tools import protoc

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def generate() -> pathlib.Path:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keelson-stubs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    proto = REPOSITORY / "proto"
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    # Keelson's own files, and what they use that no Python package here has: the other public
    # protocols come with packages of their own.
    folders = [proto / name for name in ("keelson", "cloudevents")]
    files = sorted(str(file) for folder in folders for file in folder.rglob("*.proto"))
    arguments = [
        "protoc",
        f"-I{proto}",
        f"-I{well_known}",
        f"--python_out={folder}",
        f"--grpc_python_out={folder}",
        *files,
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc failed for {files}")
    sys.path.insert(0, str(folder))
    return folder
