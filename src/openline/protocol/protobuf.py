"""The Protobuf codec: each message behind its length, any number of them in a frame.

The structs of `messages` and the messages of client.proto have the same names and fields, and are turned into each
other field by field. What is not on the wire keeps its zero value, and a zero value is not put on the wire; an empty
message is put there, because a client looks at which one is present.

Importing this module needs the library `protobuf`: the hub does so when the first client asks for this codec.

Raises:
    MissingExtra: on import, where the library is not installed or too old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, final

from openline.errors import MissingExtra
from openline.protocol import messages
from openline.protocol.codec import DecodeError
from openline.protocol.messages import Command, Pub, Push, Reply

try:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import DecodeError as MalformedMessage
    from google.protobuf.message import Message
    from google.protobuf.runtime_version import VersionError
except ImportError as error:
    raise MissingExtra("the Protobuf codec", "protobuf") from error
try:
    from openline.protocol import client_pb2
except VersionError as error:
    raise MissingExtra("the Protobuf codec", "protobuf") from error

#: The library's own parser in Python, where there is no compiled one, lets the second through.
_MALFORMED: Final = (MalformedMessage, UnicodeDecodeError)
#: A length of more bytes than this is above 2^35: no frame is that long.
_MAX_LENGTH_BYTES: Final = 5


@final
class ProtobufCodec:
    """Replies and commands as length-prefixed Protobuf messages."""

    name: Final = "protobuf"
    binary: Final = True

    def decode(self, frame: bytes) -> Iterator[Command]:
        """Give the commands of one frame, in order.

        Raises:
            DecodeError: at the first length or message that is broken or cut off; at once where the frame is empty.
        """
        if not frame:
            raise DecodeError("an empty frame is no command")
        start = 0
        while start < len(frame):
            start, end = _span(frame, start)
            try:
                message = client_pb2.Command.FromString(frame[start:end])
            except _MALFORMED as error:
                raise DecodeError(f"no Protobuf command: {error}") from error
            command: Command = _COMMAND.read(message)
            yield command
            start = end

    def encode(self, reply: Reply) -> bytes:
        """Encode one message behind its length."""
        message = client_pb2.Reply()
        push = reply.push
        if push is not None and push.pub is not None:
            _write_publication(message.push, push, push.pub)
        else:
            _REPLY.write(message, reply)
        payload = message.SerializeToString()
        return _length(len(payload)) + payload

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Put encoded messages into one frame, one after the other."""
        return b"".join(messages) if len(messages) > 1 else messages[0]

    def quote(self, payload: bytes) -> bytes:
        """Give a payload or patch as it is."""
        return payload

    def carries(self, payload: bytes) -> bool:
        """Tell that any payload can be embedded."""
        return True


def _span(frame: bytes, start: int) -> tuple[int, int]:
    """Read the length at a place of a frame; give where the message behind it starts and ends."""
    length = 0
    for index, byte in enumerate(frame[start : start + _MAX_LENGTH_BYTES]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            start += index + 1
            if start + length > len(frame):
                raise DecodeError(f"a message of {length} bytes is announced, {len(frame) - start} are there")
            return start, start + length
    raise DecodeError("a message's length is cut off or too long")


def _length(size: int) -> bytes:
    """Encode a length as a varint."""
    if size < 0x80:
        return bytes((size,))
    groups = bytearray()
    while size >= 0x80:
        groups.append(size & 0x7F | 0x80)
        size >>= 7
    groups.append(size)
    return bytes(groups)


def _write_publication(message: client_pb2.Push, push: Push, pub: Pub) -> None:
    """Write the one push that is sent often without going through the tables: half the time."""
    message.channel = push.channel
    wire = message.pub
    wire.data = bytes(pub.data)
    if pub.offset:
        wire.offset = pub.offset
    if pub.epoch:
        wire.epoch = pub.epoch
    if pub.delta:
        wire.delta = True
    if pub.tags:
        wire.tags.update(pub.tags)
    if pub.info is not None:
        wire.info.SetInParent()
        _INFO.write(wire.info, pub.info)
    # A publication of nothing at all is still one.
    wire.SetInParent()


@final
class _Form:
    """How one struct and the message of the same name are turned into each other."""

    __slots__ = ("_readers", "_struct", "_writers")

    def __init__(self, struct: type[Any]) -> None:
        self._struct = struct
        self._readers: dict[int, tuple[str, _Read | None]] = {}
        self._writers: list[tuple[str, _Write]] = []

    def learn(self, descriptor: Descriptor) -> None:
        """Take up the struct's fields; what only the message has is skipped when read."""
        for name in self._struct.__struct_fields__:
            field = descriptor.fields_by_name[name]
            self._readers[field.number] = name, _reader(field)
            self._writers.append((name, _writer(field)))

    def read(self, message: Message) -> Any:
        """Give the struct of a message."""
        values: dict[str, Any] = {}
        for field, value in message.ListFields():
            known = self._readers.get(field.number)
            if known is not None:
                name, read = known
                values[name] = value if read is None else read(value)
        return self._struct(**values)

    def write(self, message: Message, struct: Any) -> None:
        """Fill an empty message from a struct."""
        for name, write in self._writers:
            value = getattr(struct, name)
            # Zero, empty and `NOTHING` are false; a struct never is, be it empty.
            if value:
                write(message, name, value)


def _reader(field: FieldDescriptor) -> _Read | None:
    """Give what makes a struct's value of a field's value; None where they are the same."""
    nested = field.message_type
    if nested is None:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return messages.raw
        return list if field.is_repeated else None
    if nested.GetOptions().map_entry:
        read = _reader(nested.fields_by_name["value"])
        return dict if read is None else lambda items: {key: read(value) for key, value in items.items()}
    form = _form(nested)
    return (lambda items: [form.read(item) for item in items]) if field.is_repeated else form.read


def _writer(field: FieldDescriptor) -> _Write:
    """Give what puts a struct's value into a message."""
    nested = field.message_type
    if nested is None:
        if field.is_repeated:
            return lambda message, name, items: getattr(message, name).extend(items)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return lambda message, name, payload: setattr(message, name, bytes(payload))
        return setattr
    if nested.GetOptions().map_entry:
        value = nested.fields_by_name["value"].message_type
        if value is None:
            return lambda message, name, items: getattr(message, name).update(items)
        return _map_writer(_form(value))
    return _list_writer(_form(nested)) if field.is_repeated else _message_writer(_form(nested))


def _message_writer(form: _Form) -> _Write:
    def write(message: Any, name: str, struct: Any) -> None:
        nested = getattr(message, name)
        # Present even if nothing is set in it.
        nested.SetInParent()
        form.write(nested, struct)

    return write


def _list_writer(form: _Form) -> _Write:
    def write(message: Any, name: str, structs: list[Any]) -> None:
        nested = getattr(message, name)
        for struct in structs:
            form.write(nested.add(), struct)

    return write


def _map_writer(form: _Form) -> _Write:
    def write(message: Any, name: str, structs: dict[str, Any]) -> None:
        nested = getattr(message, name)
        for key, struct in structs.items():
            form.write(nested[key], struct)

    return write


def _form(message: Descriptor) -> _Form:
    """Give the one form of a message, made on first asking."""
    form = _FORMS.get(message.name)
    if form is None:
        form = _FORMS[message.name] = _Form(getattr(messages, message.name))
        # Known before it learns: a filter holds filters.
        form.learn(message)
    return form


_Read = Callable[[Any], Any]
_Write = Callable[[Any, str, Any], None]
_FORMS: Final[dict[str, _Form]] = {}
_SCHEMA: Final = client_pb2.DESCRIPTOR.message_types_by_name
_COMMAND: Final = _form(_SCHEMA["Command"])
_REPLY: Final = _form(_SCHEMA["Reply"])
_INFO: Final = _form(_SCHEMA["Info"])

PROTOBUF: Final = ProtobufCodec()


def decode_emulation(body: bytes) -> tuple[str, str, bytes]:
    """Give node, session and data of an EmulationRequest.

    Raises:
        DecodeError: it is none.
    """
    try:
        read = client_pb2.EmulationRequest.FromString(body)
    except _MALFORMED as error:
        raise DecodeError(f"no EmulationRequest: {error}") from error
    return read.node, read.session, read.data
