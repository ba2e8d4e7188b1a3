"""Reads requests and profiles, and finds all that is wrong with them without asking AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from endpoint_sizer.endings import WrongUse

if TYPE_CHECKING:
    from sizing.request.request import Request

#: Of a state machine's input, as StartExecution takes it.
_LARGEST_BYTES: Final = 262_144
#: All regions have the same Hugging Face images, but for the registry's name.
_ANY_REGION: Final = "us-east-1"
_BYTE_ORDER_MARK: Final = "\ufeff"


def check(path: Path, document: Any) -> Request:
    """Validate a request, and what else of it can be known without an account.

    Raises:
        WrongUse: Names the file, the field and what is allowed there.
    """
    from sizing.catalogue import hugging_face_images
    from sizing.errors import InvalidRequest
    from sizing.request.payloads import check_inline
    from sizing.request.request import parse_request

    try:
        request = parse_request(document)
        check_inline(request.payloads.inline or ())
        if model := request.model.hugging_face:
            for instance_type in request.instance_types:
                hugging_face_images.image_uri(
                    transformers_version=model.transformers_version,
                    pytorch_version=model.pytorch_version,
                    py_version=model.py_version,
                    region=_ANY_REGION,
                    instance_type=instance_type,
                )
    except InvalidRequest as error:
        raise WrongUse(f"{path}: {error}") from None
    return request


def read_json(path: Path, *, most_bytes: int = _LARGEST_BYTES) -> Any:
    """Decode a file.

    Args:
        path: The file.
        most_bytes: What is taken of it; by default what a request may have.

    Raises:
        WrongUse: It can't be read, is too large or is not JSON; says where and why.
    """
    content = _read(path, most_bytes)
    try:
        text = content.decode()
        if text.startswith(_BYTE_ORDER_MARK):
            raise _NotStrictJson("it begins with a byte order mark; save it as UTF-8 without one")
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise WrongUse(f"{path}: not JSON: byte {error.start:,} is not UTF-8") from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg} in line {error.lineno}, column {error.colno}"
        raise WrongUse(f"{path}: not JSON: {reason}") from None
    except RecursionError:
        raise WrongUse(f"{path}: not a request: it is nested too deeply") from None
    except _NotStrictJson as error:
        raise WrongUse(f"{path}: not JSON: {error}") from None
    except ValueError:  # Python's limit on the digits of whole numbers
        raise WrongUse(f"{path}: not a request: a number has thousands of digits") from None


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise WrongUse(f"{path}: {reason(error)}") from None
    if len(content) > most_bytes:
        hint = ""
        if most_bytes == _LARGEST_BYTES:
            hint = (
                ", which is all that a state machine takes; put the payloads into a file and name "
                "it in payloads.s3_uri"
            )
        raise WrongUse(f"{path}: has more than {most_bytes:,} bytes{hint}")
    return content


def reason(error: OSError) -> str:
    """Why something can't be done with a file, without its name."""
    return (error.strerror or str(error)).lower()


class _NotStrictJson(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a field written twice would silently count once."""
    decoded = dict(pairs)
    if len(decoded) < len(pairs):
        from sizing.request.refusal import field_path

        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _NotStrictJson(f"{field_path([twice])} is written twice in one object")
    return decoded


def _no_number(text: str) -> NoReturn:
    raise _NotStrictJson(f"{text} is no number of JSON's")
