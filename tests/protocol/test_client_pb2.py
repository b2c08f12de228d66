"""The generated Protobuf code: that of our schema, with the numbers of the public protocol."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import centrifuge.protocol.client_pb2 as released
import msgspec
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from msgspec import Raw

from openline.protocol import client_pb2, messages

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "openline" / "protocol"
SCHEMA = (FOLDER / "client.proto").read_text()
GENERATED = (FOLDER / "client_pb2.py").read_text()

#: The official schema's names of our messages, where they differ.
OFFICIAL = {
    "ArrivalPush": "Join",
    "ConnectPush": "Connect",
    "DisconnectPush": "Disconnect",
    "Info": "ClientInfo",
    "MessagePush": "Message",
    "Pub": "Publication",
    "RefreshPush": "Refresh",
    "RpcRequest": "RPCRequest",
    "RpcResult": "RPCResult",
    "SubscribePush": "Subscribe",
    "UnsubscribePush": "Unsubscribe",
}
#: Messages that are too new for the released client.
NEW = {"Dictionary", "Track", "TrackItem"}

SCALARS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_SINT64: "sint64",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def type_of(field: FieldDescriptor) -> str:
    """Say a field's type as a schema writes it."""
    nested = field.message_type
    if nested is None:
        name = SCALARS[field.type]
    elif nested.GetOptions().map_entry:
        key, value = nested.fields
        return f"map<{type_of(key)}, {type_of(value)}>"
    else:
        name = nested.name
    return f"repeated {name}" if field.is_repeated else name


def fields_of(descriptor: Descriptor) -> dict[str, tuple[int, str]]:
    """Give the number and type of each field of a message."""
    return {field.name: (field.number, type_of(field)) for field in descriptor.fields}


def written() -> dict[str, dict[str, tuple[int, str]]]:
    """Read the schema's text: the number and type of each field of each message."""
    text = re.sub(r"//.*", "", SCHEMA)
    return {
        name: {
            field: (int(number), kind)
            for kind, field, number in re.findall(r"((?:repeated )?\w+|map<\w+, \w+>) (\w+) = (\d+);", body)
        }
        for name, body in re.findall(r"message (\w+) \{(.*?)\}", text, re.DOTALL)
    }


def generated() -> dict[str, Descriptor]:
    """Give the messages of the generated code."""
    return dict(client_pb2.DESCRIPTOR.message_types_by_name.items())


def test_the_generated_code_is_that_of_the_schema() -> None:
    """Every message and field of client.proto is in the generated code, and nothing else."""
    assert written() == {name: fields_of(descriptor) for name, descriptor in generated().items()}


def test_generating_the_code_anew_changes_nothing(tmp_path: Path) -> None:
    """Where the compiler is at hand, its output is what stands in the package."""
    if importlib.util.find_spec("grpc_tools") is None:
        # The comparison above holds without it; the compiler is only in the .venv of whoever changes the schema.
        return
    arguments = ["--proto_path=src", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "src/openline/protocol/client.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True, cwd=ROOT, timeout=25)
    made = tmp_path / "openline" / "protocol"
    assert (FOLDER / "client_pb2.pyi").read_text() == (made / "client_pb2.pyi").read_text()
    assert without_version(GENERATED) == without_version((made / "client_pb2.py").read_text())


def without_version(code: str) -> str:
    """Leave out which compiler wrote it: a newer one is no difference."""
    return re.sub(r"(?m)^# Protobuf Python Version: .*$|PUBLIC,\s+\d+,\s+\d+,\s+\d+,", "", code)


@pytest.mark.parametrize("name", sorted(generated()))
def test_numbers_are_those_of_a_released_client(name: str) -> None:
    """What a released client knows of a message, it knows by the same name, number and type."""
    theirs = released.DESCRIPTOR.message_types_by_name.get(OFFICIAL.get(name, name))
    if theirs is None:
        assert name in NEW
        return
    ours = fields_of(generated()[name])
    for field, (number, kind) in fields_of(theirs).items():
        assert (number, in_our_words(kind)) == ours[field]


def in_our_words(kind: str) -> str:
    """Translate the official names within a type."""
    ours = {official: name for name, official in OFFICIAL.items()} | {"Leave": "ArrivalPush"}
    return re.sub(r"\w+", lambda word: ours.get(word[0], word[0]), kind)


def test_no_name_is_one_of_the_official_schema() -> None:
    """One process has one pool of names: ours keeps out of the way of the official Python client."""
    assert released.DESCRIPTOR.name != client_pb2.DESCRIPTOR.name
    assert "openline.protocol" == client_pb2.DESCRIPTOR.package


# --- the structs --------------------------------------------------------------------------------------------------

STRUCTS = {
    name: struct
    for name, struct in vars(messages).items()
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and not name.startswith("_")
}


def schema_types(hint: Any) -> set[str]:
    """Give the schema types that a struct's field of this type can stand for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is int:
        return {"int32", "int64", "uint32", "uint64"}
    if hint in (str, bool, Raw):
        return {{str: "string", bool: "bool", Raw: "bytes"}[hint]}
    if origin is list:
        return {f"repeated {name}" for name in schema_types(arguments[0])}
    if origin is dict:
        return {f"map<string, {name}>" for name in schema_types(arguments[1])}
    if type(None) in arguments:
        return schema_types(arguments[0])
    return {hint.__name__}


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_each_struct_has_a_message_of_its_name_with_its_fields(name: str) -> None:
    """The codec turns one into the other field by field, so each field is in both, with the same meaning."""
    fields = fields_of(generated()[name])
    for field, hint in get_type_hints(STRUCTS[name]).items():
        assert fields[field][1] in schema_types(hint), field


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_numbers_of_requests_have_the_bounds_of_the_schema(name: str) -> None:
    """What JSON takes is what Protobuf can hold; what only the server writes is not checked."""
    if not name.endswith("Request") and name not in ("Command", "StreamPosition"):
        return
    bounds = {"uint32": messages.U32, "uint64": messages.U64, "int32": messages.I32, "int64": messages.I64}
    hints = get_type_hints(STRUCTS[name], include_extras=True)
    for field, (_, kind) in fields_of(generated()[name]).items():
        if kind in bounds and field in hints:
            assert bounds[kind] == hints[field], field


# --- what it runs on ----------------------------------------------------------------------------------------------


def test_the_extra_asks_for_a_runtime_that_can_run_it() -> None:
    """Generated code refuses a runtime older than its compiler: the extra's lower bound is not below it."""
    version = re.search(r"Protobuf Python Version: ([\d.]+)", GENERATED)
    assert version is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [requirement] = [line for line in extras["protobuf"] if line.startswith("protobuf")]
    bound = re.search(r">=([\d.]+)", requirement)
    assert bound is not None
    assert as_numbers(version[1]) <= as_numbers(bound[1])


def as_numbers(version: str) -> list[int]:
    """Give a version as numbers that compare."""
    return [int(part) for part in version.split(".")]
