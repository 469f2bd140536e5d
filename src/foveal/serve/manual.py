"""The page /docs: what can be asked of the server, made of its own OpenAPI description, with nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["manual_page"]

_STYLE = """
:root { color-scheme: light dark } body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
pre { overflow-x: auto; padding: .8rem; border: 1px solid #8885; border-radius: .4rem } code, pre { font: 13px/1.45 ui-monospace, monospace }
h2 { margin-top: 2.5rem } td, th { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0 } .method { color: #b45309 }
"""


def manual_page(described: Mapping[str, Any]) -> str:
    """A page of HTML about every route of an OpenAPI description.

    >>> "<h1>a</h1>" in manual_page({"info": {"title": "a", "version": "1"}, "paths": {}})
    True
    """
    info = described["info"]
    head = f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('description', ''))}</p><p>Version {escape(info['version'])}. "
    head += 'The same for machines: <a href="/openapi.json">openapi.json</a>.</p>'
    title = f"<title>{escape(info['title'])}: the API</title>"
    start = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}'
    return f"{start}<style>{_STYLE}</style></head><body>{head}{''.join(_routes(described))}</body></html>"


def _routes(described: Mapping[str, Any]) -> Iterator[str]:
    for path, ways in described["paths"].items():
        for method, route in ways.items():
            yield f'<h2><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2><p>{escape(route.get("summary", ""))}. '
            yield f"{escape(route.get('description', ''))}</p>"
            for kind, content in route.get("requestBody", {}).get("content", {}).items():
                yield _body(path, kind, _resolved(content["schema"], described))


def _body(path: str, kind: str, schema: Mapping[str, Any]) -> str:
    wanted = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' (wanted)' if name in wanted else ''}</td><td>{escape(_kind(field))}</td>"
        f"<td>{escape(str(field.get('description', '')))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    said = f"<p><code>{escape(kind)}</code></p><table>{rows}</table>"
    for example in schema.get("examples", []):
        body = json.dumps(example, ensure_ascii=False, indent=2)
        said += f"<pre>curl -s localhost:8000{escape(path)} -H 'Content-Type: {escape(kind)}' -d '{escape(body)}'</pre>"
    return said


def _kind(field: Mapping[str, Any]) -> str:
    kinds = [field, *field.get("anyOf", [])]
    return " or ".join(str(kind["type"]) for kind in kinds if kind.get("type") not in (None, "null"))


def _resolved(schema: Mapping[str, Any], described: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return described["components"]["schemas"][name] if name else schema
