"""Files of entries, in CSV, JSON, YAML or TOML, read as hostile: each row with its place, or why it is none.

A file that cannot be read at all is a UsageError. A row that is no entry becomes a Problem with its line, and
the rest is read on.

CSV: a heading line, one kind of entry or a column `kind`. Exactly one leading `'` is taken off each field.
JSON, YAML, TOML: an object with a section for each kind. YAML is read as 1.2, and every value as the text
that stands there, so a local part `no` or `on` is a local part; tags and objects are not made.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from postmaster.bulk import fields
from postmaster.bulk.writing import COLUMNS, KIND_COLUMN, SECTIONS, As
from postmaster.directory import passwords
from postmaster.directory.entries import FIELDS, Listed
from postmaster.directory.merge import Problem, Wanted
from postmaster.errors import NotFoundError, PostmasterError, UsageError
from postmaster.render.escape import csv_value

SIZE_LIMIT = 1 << 30  # bytes of CSV or JSON
DOCUMENT_LIMIT = 64 << 20  # bytes of YAML or TOML, which are read as a whole
FIELD_LIMIT = 1 << 20  # characters of a field in CSV
_KINDS = {section: kind for kind, section in SECTIONS.items()}

#: (place, kind, field -> text); the kind is empty where there is none.
Row = tuple[str, str, dict[str, Any]]


def form_of(file: Path, given: As | None) -> As:
    """The format by its name, or as it was said. Raises UsageError."""
    suffix = file.suffix.lower().lstrip(".")
    if given is not None:
        return given
    if suffix in ("yml", *As):
        return As("yaml" if suffix == "yml" else suffix)
    raise UsageError(f"{file} does not say which format it is in", hint="add --as csv, json, yaml or toml")


def read(file: Path, form: As) -> Wanted:
    """What a file says. Raises NotFoundError, UsageError."""
    try:
        with file.open("rb") as opened:
            return read_from(opened, form, str(file))
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {file}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def read_from(opened: BinaryIO, form: As, name: str) -> Wanted:
    """What an open file says, of this name in messages. Raises UsageError."""
    limit = SIZE_LIMIT if form in (As.csv, As.json) else DOCUMENT_LIMIT
    data = opened.read(limit + 1)
    if len(data) > limit:
        raise UsageError(f"{name} is larger than {limit >> 20} MiB", hint="split it")
    return parse(decoded(data, name), form)


def parse(text: str, form: As) -> Wanted:
    """The same from a text. Raises UsageError where it is not of that format."""
    wanted = Wanted()
    if form is As.csv:
        _take(wanted, _csv_rows(text))
        return wanted
    sections = set[str]()
    parser = {As.json: _json_rows, As.yaml: _yaml_rows, As.toml: _toml_rows}[form]
    _take(wanted, parser(text, sections, wanted))
    wanted.manages = frozenset(_KINDS[name] for name in sections)
    return wanted


def _take(wanted: Wanted, rows: Iterable[Row]) -> None:
    for place, kind, values in rows:
        try:
            if kind not in FIELDS:
                raise UsageError(f"{kind!r} is no kind of entry", hint="one of " + ", ".join(FIELDS))
            if "" in values:
                raise UsageError(str(values[""]))
            secret = _take_out_clear_text(kind, values)
            wanted.listed.append(Listed(fields.entry(kind, values), place, secret))
        except PostmasterError as error:
            wanted.problems.append(Problem(place, kind, _title(values), error.message))


def _take_out_clear_text(kind: str, values: dict[str, Any]) -> str | None:
    """The password of a user that stands there in clear text. Raises PasswordError for one that is none."""
    given = values.get("password")
    found = passwords.clear_text(given) if kind == "user" and isinstance(given, str) else None
    if found is None:
        return None
    values["password"] = None
    return passwords.check_password(found)


def _title(values: dict[str, Any]) -> str:
    for name in ("address", "domain", "user"):
        if isinstance(values.get(name), str):
            return str(values[name])[:100]
    return ""


def decoded(data: bytes, name: str) -> str:
    """UTF-8, less a byte order mark. Raises UsageError with the line that is not."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name} is not UTF-8: line {line}", hint="convert it with iconv") from None


def _csv_rows(text: str) -> Iterator[Row]:
    csv.field_size_limit(FIELD_LIMIT)
    first = text[: text.find("\n")]
    # Where a comma is the decimal mark, spreadsheets write a semicolon instead.
    mark = next((one for one in ",;\t" if one in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    heading: list[str] | None = None
    kind = ""
    line = 1
    try:
        for cells in reader:
            place, line = f"line {line}", reader.line_num + 1
            if not any(cells):
                continue
            if heading is None:
                heading = [csv_value(cell).strip().lower() for cell in cells]
                kind = _check_heading(heading)
                continue
            if len(cells) != len(heading):
                yield place, kind, {"": f"has {len(cells)} fields, and the heading has {len(heading)}"}
                continue
            values: dict[str, Any] = {
                name: csv_value(cell) for name, cell in zip(heading, cells, strict=True) if cell != ""
            }
            yield place, values.pop(KIND_COLUMN, kind), values
    except csv.Error as error:
        raise UsageError(f"line {line}: no CSV: {error}") from None
    if heading is None:
        raise UsageError("the file is empty", hint="a CSV begins with a line of field names")


def _check_heading(heading: list[str]) -> str:
    known = {*COLUMNS, *fields.SYNONYMS}
    for name in heading:
        if name not in known:
            raise UsageError(
                f"line 1: there is no field {name[:60]!r}", hint="fields are " + ", ".join(COLUMNS)
            )
    if len(set(heading)) != len(heading):
        raise UsageError("line 1: a field is named twice")
    # Without a column for it, users: what people have in a spreadsheet.
    return "" if KIND_COLUMN in heading else "user"


_SPACE = re.compile(r"[ \t\r\n]*")


def _json_rows(text: str, sections: set[str], wanted: Wanted) -> Iterator[Row]:
    """Read object by object, so that each has its line."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_fields)
    at, line, counted = 0, 1, 0

    def skip(position: int) -> int:
        found = _SPACE.match(text, position)
        assert found is not None
        return found.end()

    def where(position: int) -> str:
        nonlocal line, counted
        line += text.count("\n", counted, position)
        counted = max(counted, position)
        return f"line {line}"

    def value(position: int) -> tuple[Any, int]:
        try:
            return decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise UsageError(f"line {error.lineno}: no JSON: {error.msg}") from None
        except RecursionError:
            raise UsageError(f"{where(position)}: too deep") from None

    def expect(position: int, marks: str) -> tuple[str, int]:
        position = skip(position)
        if position >= len(text) or text[position] not in marks:
            raise UsageError(f"{where(position)}: no JSON: expected {' or '.join(marks)}")
        return text[position], position + 1

    _, at = expect(at, "{")
    mark = ","
    if text[skip(at) : skip(at) + 1] == "}":
        mark, at = "}", skip(at) + 1
    while mark == ",":
        at = skip(at)
        name, at = value(at)
        _, at = expect(at, ":")
        at = skip(at)
        if name == "complete":
            flag, at = value(at)
            wanted.complete = _complete(flag, where(at))
        else:
            _section(name, sections, where(at))
            if text.startswith("null", at):
                raise _nothing(name, where(at), f'"{name}": []')
            _, at = expect(at, "[")
            inner = ","
            if text[skip(at) : skip(at) + 1] == "]":
                inner, at = "]", skip(at) + 1
            while inner == ",":
                at = skip(at)
                place = where(at)
                item, at = value(at)
                yield place, _KINDS[name], _texts(item)
                inner, at = expect(at, ",]")
        mark, at = expect(at, ",}")
    if skip(at) != len(text):
        raise UsageError(f"{where(skip(at))}: something stands behind the end")


def _fields(pairs: list[tuple[str, Any]]) -> dict[str | None, Any]:
    """What stands under each name; under None which name is there twice, as the last one is no better."""
    found: dict[str | None, Any] = {}
    for name, value in pairs:
        if name in found:
            found[None] = f"{name[:60]!r} is given twice"
        found[name] = value
    return found


def _toml_rows(text: str, sections: set[str], wanted: Wanted) -> Iterator[Row]:
    import tomllib

    from postmaster.bulk.toml_lines import PARTS_LIMIT, lines_of, long_key

    number = long_key(text)
    if number is not None:
        raise UsageError(f"line {number}: no key here has more than {PARTS_LIMIT} parts")
    try:
        found = tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        message, _, position = str(error).rpartition(" (at ")
        at = re.match(r"line \d+", position)
        line = at[0] if at else f"line {text.rstrip().count(chr(10)) + 1}"  # at the end of the document
        raise UsageError(f"{line}: no TOML: {message}") from None
    except (RecursionError, ValueError) as error:  # of a number with thousands of digits
        why = "too deep" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        raise UsageError(f"no TOML that can be read: {why}") from None
    lines = lines_of(text)
    for name, items in found.items():
        place = f"line {lines.sections.get(name, 1)}"
        if name == "complete":
            wanted.complete = _complete(items, place)
            continue
        _section(name, sections, place)
        if not isinstance(items, list):
            raise UsageError(f"{place}: {name} is no list", hint=f"write [[{name}]] above each entry")
        for index, item in enumerate(items):
            number = lines.entry(name, index, len(items))
            place = f"{name}, entry {index + 1}" if number is None else f"line {number}"
            yield place, _KINDS[name], _texts(item)


def _yaml_rows(text: str, sections: set[str], wanted: Wanted) -> Iterator[Row]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
    from ruamel.yaml.reader import ReaderError

    def line(node: Any) -> str:
        return f"line {node.start_mark.line + 1}"

    def pairs(node: Any) -> Iterator[tuple[str, Any]]:
        for key, value in node.value:
            yield (str(key.value) if isinstance(key, ScalarNode) else ""), value

    def plain(node: Any) -> Any:
        if isinstance(node, ScalarNode):
            return None if str(node.tag) == "tag:yaml.org,2002:null" else str(node.value)
        if isinstance(node, SequenceNode):
            return [plain(one) if isinstance(one, ScalarNode) else {} for one in node.value]
        return {}

    try:
        root = YAML(typ="safe", pure=True).compose(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}: " if mark is not None else ""
        raise UsageError(f"{at}no YAML: {error.problem or error.context}") from None
    except ReaderError as error:
        at = f"line {text.count(chr(10), 0, error.position) + 1}: "
        raise UsageError(f"{at}no YAML: the character U+{error.character:04X} cannot be in it") from None
    except (YAMLError, ValueError) as error:
        raise UsageError(f"no YAML: {str(error).splitlines()[0][:200]}") from None
    except RecursionError:
        raise UsageError("no YAML that can be read: too deep") from None
    if root is None:
        raise UsageError("the file is empty", hint="it has sections such as domains: and users:")
    if not isinstance(root, MappingNode):
        raise UsageError(f"{line(root)}: sections such as domains: and users: are needed")
    for (key, _), (name, value) in zip(root.value, pairs(root), strict=True):
        if name == "complete":
            wanted.complete = _complete(plain(value), line(value))
            continue
        _section(name, sections, line(value))
        if isinstance(value, ScalarNode) and plain(value) in (None, ""):
            raise _nothing(name, line(key), f"{name}: []")
        if not isinstance(value, SequenceNode):
            raise UsageError(f"{line(value)}: {name} is no list", hint="begin each entry with a hyphen")
        for item in value.value:
            if not isinstance(item, MappingNode):
                yield line(item), _KINDS[name], {"": "is no entry with fields"}
                continue
            found = _fields([(field, plain(inner)) for field, inner in pairs(item)])
            yield line(item), _KINDS[name], _texts(found)


def _section(name: Any, sections: set[str], place: str) -> None:
    if name not in _KINDS:
        raise UsageError(
            f"{place}: there is no section {str(name)[:60]!r}", hint="sections are " + ", ".join(_KINDS)
        )
    if name in sections:
        raise UsageError(f"{place}: the section {name} is there twice")
    sections.add(name)


def _nothing(name: str, place: str, meant: str) -> UsageError:
    """What is left out by mistake looks like this, and to apply it would take away all that there is."""
    return UsageError(
        f"{place}: nothing stands after {name}",
        hint=f"write {meant} if there are to be none, or leave {name} out",
    )


def _complete(value: Any, place: str) -> bool:
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise UsageError(f"{place}: complete is neither true nor false")


def _texts(item: Any) -> dict[str, Any]:
    """Field -> text, list of texts, or None; under the empty name why it is no entry."""
    if not isinstance(item, dict):
        return {"": "is no entry with fields"}
    found: dict[str, Any] = {}
    if None in item:
        found[""] = item.pop(None)
    for name, value in item.items():
        simple = [_scalar(one) for one in value] if isinstance(value, list) else _scalar(value)
        if simple is Ellipsis or (isinstance(simple, list) and Ellipsis in simple):
            return {**found, "": f"{str(name)[:60]!r} has no value that can be read"}
        found[str(name) or "?"] = simple
    return found


def _scalar(value: Any) -> Any:
    """The text of a single value, None, or Ellipsis for what is none."""
    import datetime

    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else ...
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return ...
