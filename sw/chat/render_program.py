"""Program that renders a chat template, started by `sw/chat/rendering.py` in a process of its own.

stdin is a JSON object: `source`, the template; `chats`, lists of messages; `variables`, the other names that the
template may use. stdout is a JSON object: `texts`, a text for each chat, or `error` and `refused`, whether the template
itself raised the error. The arguments are the limits: bytes of memory, and characters of a text.

The environment is that of transformers: Jinja2's sandbox without blanks around blocks, `raise_exception`,
`strftime_now`, `tojson` without HTML escapes, loop controls, and `{% generation %}`, which only marks a part.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace


class _Refused(TemplateError):
    """The template called `raise_exception`."""


class _Generation(Extension):
    """`{% generation %}`: its body, unchanged."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """The statements up to `{% endgeneration %}`."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Namespace(Namespace):
    """Without names that begin with an underscore, which lead out of the sandbox."""

    def __init__(*args: Any, **given: Any) -> None:  # `self` may be a name of the template's
        self, *rest = args
        Namespace.__init__(self, {})
        for name, value in dict(*rest, **given).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"the name {name!r} of a namespace begins with an underscore")
        super().__setitem__(name, value)


class _Dict:
    """`dict`, but not the class, whose attributes lead out of the sandbox."""

    def __call__(self, *args: Any, **given: Any) -> dict[Any, Any]:
        return dict(*args, **given)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(*args)


def _raise_exception(message: object) -> None:
    raise _Refused(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[_Generation, loopcontrols])
    now = datetime.now()  # the same for all chats, which are compared
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": now.strftime, "namespace": _Namespace,
                            "dict": _Dict()}
    return environment


def _render(request: dict[str, Any], most: int) -> dict[str, Any]:
    try:
        template = _environment().from_string(request["source"])
        texts = [template.render(messages=chat, tools=None, documents=None, **request["variables"])
                 for chat in request["chats"]]
    except _Refused as error:
        return {"error": str(error), "refused": True}
    except TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}", "refused": False}
    except TemplateError as error:
        return {"error": error.message or type(error).__name__, "refused": False}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "refused": False}
    if any(len(text) > most for text in texts):
        return {"error": f"it writes more than {most} characters", "refused": False}
    return {"texts": texts}


if __name__ == "__main__":
    memory, characters = (int(argument) for argument in sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _render(json.load(sys.stdin.buffer), characters)
    sys.stdout.buffer.write(json.dumps(answer).encode())
