"""What one row becomes: what is sent, what is scored, what is kept, or why it is refused."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.chunk import Fields
from batchroute.input.keep import Keep
from batchroute.input.objects import object_decoder
from batchroute.input.row import Unreadable
from batchroute.input.text import Replaced
from inputs import kept, lines, parquet, prompts, source

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.input.open import Source
    from batchroute.types import Prompt, Questions

CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "Why?"}]
PARTS = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
    },
]


def only(of: Source) -> tuple[Prompt, Questions]:
    """The prompt and the questions of an input of one row."""
    (chunk,) = of.chunks()
    (prompt,) = prompts(of)
    return prompt, chunk.questions()


def refusal(of: Source) -> str:
    prompt, asked = only(of)
    assert asked.refused.tolist() == [True]
    assert asked.texts == [""]
    assert prompt.refusal is not None
    return prompt.refusal


def sent(prompt: Prompt) -> Any:
    assert prompt.refusal is None
    return json.loads(prompt.messages)


# A text column.


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "line 1: not JSON"),
        (b'{"prompt": "a"} x', "line 1: not JSON"),
        (b'["prompt"]', "line 1: not a JSON object"),
        (b"null", "line 1: not a JSON object"),
        (b'{"prompt": "\xff"}', "line 1: not UTF-8 at byte 13"),
        (b'{"prompt": "a", "other": "\xff"}', "line 1: not UTF-8 at byte 27"),
        (b'{"prompt": "\xed\xa0\x80"}', "line 1: not UTF-8"),
        (b'{"x": 1}', "line 1: column 'prompt' is missing or null, not text"),
        (b'{"prompt": null}', "line 1: column 'prompt' is missing or null, not text"),
        (b'{"prompt": 7}', "line 1: column 'prompt' is a number, not text"),
        (b'{"prompt": ["a"]}', "line 1: column 'prompt' is a list, not text"),
        (b'{"prompt": "a", "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}", "line 1: not JSON: nested too deep"),
    ],
)
def test_a_line_without_its_prompt_is_refused(tmp_path: Path, line: bytes, why: str) -> None:
    assert refusal(source(lines(tmp_path / "a.jsonl", line))).startswith(why)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"prompt": " a\\n"}', " a\n"),
        (b'{"prompt": ""}', ""),
        (b'{"x": NaN, "y": [Infinity, 1e400], "prompt": "a"}', "a"),
        (b'{"prompt": "a", "prompt": "b"}', "b"),
        (b'{"x": ' + b"9" * 400 + b', "prompt": "a"}', "a"),
        (b'{"x": "\\ud83d", "prompt": "\\ud83d\\ude00"}', "\N{GRINNING FACE}"),
        (b'{"prompt": "half \\ud83d!"}', "half \ufffd!"),
        ('{"prompt": "naïve", "x": "é"}'.encode(), "naïve"),
    ],
)
def test_json_is_what_python_reads(tmp_path: Path, line: bytes, text: str) -> None:
    prompt, asked = only(source(lines(tmp_path / "a.jsonl", line)))
    assert asked.texts == [text]
    assert asked.chars.tolist() == [len(text)]
    assert sent(prompt) == [{"role": "user", "content": text}]


def test_lone_surrogates_are_counted_as_they_are_scored(tmp_path: Path) -> None:
    of = source(
        lines(tmp_path / "a.jsonl", '{"prompt": "\\ud83d \\udc00"}', '{"prompt": "\\ud83d"}', {"prompt": "a"})
    )
    prompts(of)
    assert of.replaced == 0
    for chunk in of.chunks():
        chunk.questions()
    assert of.replaced == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), JSON), st.booleans())
def test_lines_are_read_as_json_loads_reads_them(row: dict[str, Any], spaced: bool) -> None:
    line = json.dumps(row, separators=None if spaced else (",", ":")).encode()
    keep = Keep(("c", "d"), pa.schema([("c", pa.string()), ("d", pa.string())]))
    decoder = object_decoder(Fields(("a", "b"), None, 0, keep), in_array=False)
    expected = json.loads(line.decode().encode("utf-8", "replace"))
    found = decoder.values(line, Replaced())
    assert not isinstance(found, Unreadable)
    for value, name in zip(found, "ab", strict=True):
        assert json.dumps(value) == json.dumps(_mended(expected.get(name)))
    for text, name in zip(decoder.kept(line), "cd", strict=True):
        value = expected.get(name)
        if isinstance(value, str) or value is None:
            assert text == _mended(value)
        else:
            assert json.dumps(json.loads(str(text))) == json.dumps(value)


LINE = st.builds(
    lambda row, at, junk: (line := json.dumps(row).encode())[:at] + junk + line[at + len(junk) :],
    st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON),
    st.integers(0, 60),
    st.one_of(st.binary(max_size=2), st.sampled_from([b"\\", b'"', b"\\u", b"-", b"e5", b"0", b",", b":", b"}"])),
)


@given(LINE)
def test_a_damaged_line_is_refused_when_python_refuses_it(line: bytes) -> None:
    keep = Keep(("a",), pa.schema([("a", pa.string())]))
    decoder = object_decoder(Fields(("a",), None, 0, keep), in_array=False)
    try:
        fine = isinstance(json.loads(line.decode()), dict)
    except ValueError:
        fine = False
    assert isinstance(decoder.values(line, Replaced()), Unreadable) == (not fine)
    assert len(decoder.kept(line)) == 1


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    return {_mended(k): _mended(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_a_parquet_row_without_its_prompt_is_refused_by_its_number(tmp_path: Path) -> None:
    found = prompts(source(parquet(tmp_path / "a.parquet", {"prompt": ["a", None, "b"]})))
    assert [prompt.refusal for prompt in found] == [
        None,
        "row 1: column 'prompt' is missing or null, not text",
        None,
    ]


def test_parquet_bytes_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    data = pa.array([b"a", b"\xff", "é".encode()], pa.binary())
    for column in (data, pa.StringArray.from_buffers(3, *data.buffers()[1:])):
        found = prompts(source(parquet(tmp_path / "a.parquet", {"prompt": column})))
        assert [prompt.refusal for prompt in found] == [
            None,
            "row 1: column 'prompt' is not UTF-8, not text",
            None,
        ]
        assert sent(found[2])[0]["content"] == "é"


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_any_kind_of_text_column_will_do(tmp_path: Path, kind: pa.DataType) -> None:
    prompt, asked = only(source(parquet(tmp_path / "a.parquet", {"prompt": pa.array(["a"], kind)})))
    assert asked.texts == ["a"]
    assert sent(prompt) == [{"role": "user", "content": "a"}]


def test_a_system_message_comes_first_and_counts(tmp_path: Path) -> None:
    prompt, asked = only(source(lines(tmp_path / "a.jsonl", {"prompt": "abc"}), system="Be terse."))
    assert sent(prompt) == [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "abc"}]
    assert asked.texts == ["abc"]
    assert asked.chars.tolist() == [12]


# Messages.


@pytest.mark.parametrize(
    ("messages", "text"), [(CHAT, "Why?"), (PARTS, "a"), ([{"role": "user", "content": ["a", "b"]}], "ab")]
)
def test_messages_are_sent_as_they_are_and_the_last_is_scored(tmp_path: Path, messages: Any, text: str) -> None:
    for value in (messages, json.dumps(messages)):
        prompt, asked = only(source(lines(tmp_path / "a.jsonl", {"chat": value}), messages="chat"))
        assert sent(prompt) == messages
        assert asked.texts == [text]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "missing or null, not a list of messages"),
        ([], "an empty list, not a list of messages"),
        ("[", "is not JSON"),
        ('{"role": "user"}', "an object, not a list of messages"),
        ([{"content": "a"}], "no message with a role"),
        ([{"from": "human", "value": "a"}], "`from` and `value` (ShareGPT): rename them to `role` and `content`"),
        ('[{"from": "human", "value": "a"}]', "human to user, gpt to assistant"),
        ([{"role": "user", "content": None}], "the last message's content is missing or null, not text"),
        ('[{"role": "user", "content": ' + "[" * 300 + "]" * 300 + "}]", "nested too deep"),
        ('[{"role": "user", "content": "a", "weight": NaN}]', "nan cannot be sent as JSON"),
    ],
)
def test_what_is_no_list_of_messages_is_refused(tmp_path: Path, value: Any, why: str) -> None:
    assert why in refusal(source(lines(tmp_path / "a.jsonl", {"chat": value}), messages="chat"))


def test_null_struct_fields_of_messages_are_absent(tmp_path: Path) -> None:
    rows = [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b", "name": "n"}]]
    of = source(parquet(tmp_path / "a.parquet", {"chat": rows}), messages="chat")
    assert [sent(prompt) for prompt in prompts(of)] == rows


FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NOT_UTF8 = b"\x89PNG"
BYTES = "the row holds bytes (an image?), which are no JSON: give an image as a data: URL, in an image_url part"


@pytest.mark.parametrize(
    ("kind", "image", "is_fine"),
    [
        (FILE, {"bytes": NOT_UTF8, "path": "a.png"}, False),
        (FILE, {"bytes": b"<svg/>", "path": None}, False),  # text as it happens, but no less a file
        (FILE, None, True),
        (pa.struct([("data", pa.binary())]), {"data": NOT_UTF8}, False),
        (pa.struct([("data", pa.binary())]), {"data": b"text"}, True),
        (pa.list_(pa.binary()), [b"text", NOT_UTF8], False),
        (pa.binary(), NOT_UTF8, False),
    ],
)
@pytest.mark.parametrize("name", ["image", "image_url", "file"])
def test_bytes_in_messages_refuse_the_row_in_words_for_its_owner(
    tmp_path: Path, name: str, kind: pa.DataType, image: Any, is_fine: bool
) -> None:
    part = pa.struct([("type", pa.string()), ("text", pa.string()), (name, kind)])
    message = pa.struct([("role", pa.string()), ("content", pa.list_(part))])
    chats = [
        [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": name, name: value}]}]
        for value in (None, image)
    ]
    of = source(parquet(tmp_path / "a.parquet", {"chat": pa.array(chats, pa.list_(message))}), messages="chat")
    first, second = prompts(of)
    assert sent(first)[0]["content"][1] == {"type": name}
    assert second.refusal == (None if is_fine else f"row 1: {BYTES}")


def test_bytes_of_params_and_of_a_route_refuse_the_row(tmp_path: Path) -> None:
    columns = {"prompt": ["a"], "own": [{"stop": NOT_UTF8}], "way": [NOT_UTF8]}
    path = parquet(tmp_path / "a.parquet", columns)
    assert BYTES in refusal(source(path, params="own"))
    assert BYTES in refusal(source(path, route="way"))


# Templates.


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ image.path }}", "a.png"),
        ("{{ image }}", None),
        ("{{ image.bytes }}", None),
        ("{{ [image] }}", None),
        ("{{ image | string }}", None),
        ("{{ image.path ~ image }}", None),
        ("{{ image | tojson }}", None),
    ],
)
def test_a_template_prints_no_bytes(tmp_path: Path, template: str, text: str | None) -> None:
    images = pa.array([{"bytes": NOT_UTF8, "path": "a.png"}], FILE)
    of = source(parquet(tmp_path / "a.parquet", {"image": images}), template=template)
    prompt, asked = only(of)
    assert asked.texts == [text or ""]
    assert (prompt.refusal is None) == (text is not None)


def test_a_template_is_rendered_over_the_columns(tmp_path: Path) -> None:
    template = "{{ text }} {% for tag in meta.tags %}#{{ tag }}{% endfor %} {{ 1 + n }}"
    row = {"text": "<a>", "meta": {"tags": ["x", "y"]}, "n": 2}
    for path in (
        lines(tmp_path / "a.jsonl", row),
        parquet(tmp_path / "a.parquet", {name: [value] for name, value in row.items()}),
    ):
        prompt, asked = only(source(path, template=template))
        assert asked.texts == ["<a> #x#y 3"]
        assert sent(prompt)[0]["content"] == "<a> #x#y 3"


def test_a_template_is_rendered_beside_a_route_and_in_whole_characters(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"text": "a", "way": "weak"})
    prompt, asked = only(source(path, template='{{ text }}{{ "\\ud83d" }}', route="way"))
    assert (asked.texts, asked.forced) == (["a\ufffd"], ["weak"])
    assert sent(prompt)[0]["content"] == "a\ufffd"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ gone }}", "column 'gone' of the template is missing or null"),
        ("{{ null }}", "column 'null' of the template is missing or null"),
        ("{% if false %}{{ gone }}{% endif %}", "column 'gone' of the template is missing or null"),
        ("{{ meta.gone }}", "the template fails"),
        ("{{ text / 0 }}", "the template fails"),
        ("{{ n / 0 }}", "the template fails: division by zero"),
        ("{{ text.__class__.__mro__ }}", "the template fails"),
        ('{{ "a" * 10**11 }}', "the template fails: * makes more than 10,000,000 characters"),
        ("{{ n ** 1000000000 }}", "the template fails: ** makes more than"),
        ("{{ '%100000000000d' % n }}", "the template fails: MemoryError"),
    ],
)
def test_a_row_that_does_not_fit_the_template_is_refused(tmp_path: Path, template: str, why: str) -> None:
    row = {"text": "a", "null": None, "n": 1, "meta": {"a": 1}}
    assert why in refusal(source(lines(tmp_path / "a.jsonl", row), template=template))


def test_a_bad_template_and_a_column_that_parquet_lacks_are_faults(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": ["a"]})
    with pytest.raises(InputFault, match="line 2"):
        source(path, template="{{ text }}\n{% if %}")
    with pytest.raises(InputFault, match="no column 'gone'; it has text"):
        source(path, template="{{ text }} {{ gone }}")
    with pytest.raises(InputFault, match="the filter `random` would make another prompt each time"):
        source(path, template="{{ text | random }}")


# Batch lines.


def batch_line(**other: Any) -> dict[str, Any]:
    body = {"model": "gpt-x", "messages": CHAT, "temperature": 0.5}
    return {"custom_id": "c1", "method": "POST", "url": "/v1/chat/completions", "body": body} | other


@pytest.mark.parametrize("asked_for", ["openai-batch", "auto"])
def test_batch_lines_bring_messages_and_params(tmp_path: Path, asked_for: str) -> None:
    of = source(lines(tmp_path / "a.jsonl", batch_line()), format=asked_for)
    prompt, asked = only(of)
    assert of.format == "openai-batch"
    assert (prompt.id, prompt.params) == ("c1", {"temperature": 0.5})
    assert sent(prompt) == CHAT
    assert asked.texts == ["Why?"]


def test_lines_with_a_prompt_are_no_batch_lines_unless_it_is_said(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", batch_line(prompt="a"))
    assert source(path).format == "jsonl"
    assert only(source(path))[1].texts == ["a"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (batch_line(url="/v1/embeddings"), "asks for 'POST' '/v1/embeddings'"),
        (batch_line(method="GET"), "asks for 'GET'"),
        (batch_line(method=["POST"]), "asks for ['POST']"),
        (batch_line(url="x" * 999), f"asks for 'POST' '{'x' * 59}...; only"),
        (batch_line(custom_id=None), "'custom_id' is missing or null"),
        (batch_line(body=[]), "'body' is a list, not an object"),
        (batch_line(body={"model": "x"}), "'body.messages' is missing or null"),
        (batch_line(body={"messages": CHAT, "stream": False}), "params hold 'stream'"),
    ],
)
def test_other_batch_lines_are_refused(tmp_path: Path, line: dict[str, Any], why: str) -> None:
    assert why in refusal(source(lines(tmp_path / "a.jsonl", line), format="openai-batch"))


# The columns beside the prompt.


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (7, "7"), (10**30, str(10**30)), (1.5, "1.5"), (None, None), (True, "true")]
)
def test_an_id_is_carried_as_a_string(tmp_path: Path, value: Any, text: str | None) -> None:
    prompt, asked = only(source(lines(tmp_path / "a.jsonl", {"prompt": "a", "key": value}), id="key"))
    assert (prompt.id, asked.ids) == (text, [text])


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (1.5, "1.5"), (dt.datetime(2026, 1, 2), "2026-01-02 00:00:00.000000")],  # noqa: DTZ001
)
def test_a_parquet_id_is_carried_as_a_string(tmp_path: Path, value: Any, text: str) -> None:
    assert only(source(parquet(tmp_path / "a.parquet", {"prompt": ["a"], "key": [value]}), id="key"))[0].id == text


def test_a_refused_row_keeps_its_id(tmp_path: Path) -> None:
    prompt, asked = only(source(lines(tmp_path / "a.jsonl", {"id": 3}), id="id"))
    assert (prompt.id, asked.ids, prompt.refusal is None) == ("3", ["3"], False)


@pytest.mark.parametrize("value", [{"top_p": 0.5, "stop": ["x"]}, '{"top_p": 0.5, "stop": ["x"]}'])
def test_params_are_an_object_or_its_json(tmp_path: Path, value: Any) -> None:
    row = {"prompt": "a", "own": value}
    for path in (
        lines(tmp_path / "a.jsonl", row),
        parquet(tmp_path / "a.parquet", {k: [v] for k, v in row.items()}),
    ):
        assert only(source(path, params="own"))[0].params == {"top_p": 0.5, "stop": ["x"]}


def test_null_struct_fields_of_params_are_absent(tmp_path: Path) -> None:
    own = [{"seed": 1, "model": None}, {"seed": None, "model": None}, None]
    of = source(parquet(tmp_path / "a.parquet", {"prompt": ["a", "b", "c"], "own": own}), params="own")
    assert [prompt.params for prompt in prompts(of)] == [{"seed": 1}, {}, None]


def test_maps_of_params_are_objects(tmp_path: Path) -> None:
    kind = pa.struct([("logit_bias", pa.map_(pa.string(), pa.int8())), ("stop", pa.list_(pa.binary()))])
    own = pa.array([{"logit_bias": [("50", 1), ("51", None)], "stop": [b"x"]}, {"logit_bias": []}], kind)
    of = source(parquet(tmp_path / "a.parquet", {"prompt": ["a", "b"], "own": own}), params="own")
    assert [prompt.params for prompt in prompts(of)] == [
        {"logit_bias": {"50": 1}, "stop": ["x"]},
        {"logit_bias": {}},
    ]
    whole = pa.array([[("seed", 1)], []], pa.map_(pa.string(), pa.int8()))
    of = source(parquet(tmp_path / "b.parquet", {"prompt": ["a", "b"], "own": whole}), params="own")
    assert [prompt.params for prompt in prompts(of)] == [{"seed": 1}, {}]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"model": "x"}, "params hold 'model'"),
        ({"messages": []}, "params hold 'messages'"),
        ({"stream": True}, "params hold 'stream'"),
        ([1], "params are a list, not an object"),
        ("{", "'params' is not JSON"),
        ('{"seed": NaN}', "nan cannot be sent as JSON"),
    ],
)
def test_params_that_cannot_be_sent_refuse_the_row(tmp_path: Path, value: Any, why: str) -> None:
    assert why in refusal(source(lines(tmp_path / "a.jsonl", {"prompt": "a", "own": value}), params="own"))


@pytest.mark.parametrize("n", [None, 1, 2, 0, "2"])
@pytest.mark.parametrize("raw", [False, True])
def test_several_choices_are_for_runs_that_keep_whole_answers(tmp_path: Path, n: object, raw: bool) -> None:
    of = source(lines(tmp_path / "a.jsonl", {"prompt": "a", "own": {"n": n}}), params="own", raw=raw)
    if raw or n in {None, 1}:
        assert only(of)[0].params == {"n": n}
    else:
        assert "set output.raw = true" in refusal(of)


def test_a_batch_line_may_ask_for_several_choices(tmp_path: Path) -> None:
    body = {"model": "m", "messages": CHAT, "n": 3}
    assert only(source(lines(tmp_path / "a.jsonl", batch_line(body=body))))[0].params == {"n": 3}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"messages": "chat", "system": "s"}, "input.system: messages bring their own system message"),
        ({"format": "openai-batch", "system": "s"}, "input.system: messages bring their own system message"),
        ({"format": "openai-batch", "params": "own"}, "openai-batch lines bring their own messages and params"),
        ({"format": "openai-batch", "template": "{{ a }}"}, "openai-batch lines bring their own messages"),
    ],
)
def test_settings_that_exclude_each_other_are_a_fault(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputFault, match=re.escape(words)):
        source(lines(tmp_path / "a.jsonl", batch_line()), **settings)


MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"])},
    optional={
        "content": st.none()
        | st.text(max_size=9)
        | st.lists(
            st.text(max_size=5)
            | st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=5) | st.none())
            | st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, st.text(max_size=9)),
            max_size=3,
        )
    },
)


@given(st.lists(MESSAGE, max_size=4))
def test_the_text_scored_is_that_of_the_last_message_and_media_have_no_length(
    tmp_path_factory: pytest.TempPathFactory, messages: list[dict[str, Any]]
) -> None:
    path = lines(tmp_path_factory.mktemp("chat") / "a.jsonl", {"chat": messages})
    prompt, asked = only(source(path, messages="chat"))
    content = messages[-1].get("content") if messages else None
    if content is None:
        assert asked.refused.tolist() == [True]
        return
    texts = content if isinstance(content, list) else [content]
    parts = [text if isinstance(text, str) else text.get("text") or "" for text in texts]
    assert sent(prompt) == messages
    assert asked.texts == ["".join(parts)]
    without_media = json.dumps([_without_media(message) for message in messages])
    assert asked.chars.tolist() == [sum(map(len, _strings(json.loads(without_media))))]


def _without_media(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [{"type": "image_url"} if _is_media(part) else part for part in content]}


def _is_media(part: object) -> bool:
    return isinstance(part, dict) and part["type"] == "image_url"


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in inner for text in _strings(item)]


def test_a_route_column_forces_the_side(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "way": way} for way in ("strong", "weak", None, "Strong", 1)]
    of = source(lines(tmp_path / "a.jsonl", *rows), route="way")
    (chunk,) = of.chunks()
    asked = chunk.questions()
    assert asked.forced == ["strong", "weak", None, None, None]
    assert asked.refused.tolist() == [False, False, False, True, True]
    assert "the route is 'Strong'" in str(prompts(of)[3].refusal)


def test_another_column_can_be_scored(tmp_path: Path) -> None:
    rows = [{"chat": CHAT, "question": "q"}, {"chat": CHAT, "question": None}]
    of = source(lines(tmp_path / "a.jsonl", *rows), messages="chat", score_text="question")
    (chunk,) = of.chunks()
    assert chunk.questions().texts == ["q", ""]
    first, second = prompts(of)
    assert sent(first) == CHAT
    assert second.refusal == "line 2: column 'question' is missing or null, not text"


# Vectors.

VECTORS = [[1.0, 2.0], None, [3.0], [4.0, float("nan")], [5.0, None], [7.0, 8.0]]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float16())])
def test_vectors_of_parquet_are_a_matrix(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {"prompt": list("abcdef"), "v": pa.array(VECTORS).cast(kind)}
    check_vectors(source(parquet(tmp_path / "a.parquet", columns), vector_column="v"))


def test_vectors_of_json_lines_are_a_matrix(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": text, "v": vector} for text, vector in zip("abcdef", VECTORS, strict=True)
    ]
    rows[5]["x"] = float("nan")
    check_vectors(source(lines(tmp_path / "a.jsonl", *rows), vector_column="v"))


def check_vectors(of: Source) -> None:
    (chunk,) = of.chunks()
    asked = chunk.questions()
    assert asked.vectors is not None
    assert asked.vectors.dtype == np.float32
    assert asked.vectors.tolist() == [[1, 2], [0, 0], [0, 0], [0, 0], [0, 0], [7, 8]]
    assert asked.refused.tolist() == [False, True, True, True, True, False]
    assert [prompt.refusal is not None for prompt in prompts(of)] == asked.refused.tolist()


def test_whole_fixed_size_vectors_are_not_copied(tmp_path: Path) -> None:
    column = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    (chunk,) = source(
        parquet(tmp_path / "a.parquet", {"prompt": ["a", "b"], "v": column}), vector_column="v"
    ).chunks()
    vectors = chunk.questions().vectors
    assert vectors is not None
    assert vectors.tolist() == [[1, 2], [3, 4]]
    assert not vectors.flags.owndata


def test_an_input_without_any_vector_is_all_refused(tmp_path: Path) -> None:
    _, asked = only(source(parquet(tmp_path / "a.parquet", {"prompt": ["a"], "v": [None]}), vector_column="v"))
    assert asked.refused.tolist() == [True]


# Kept columns.


def test_kept_json_fields_are_text(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        '{"prompt": "a", "topic": "t", "n": 1.0, "o": {"b": [1, NaN]}}',
        '{"prompt": "b", "topic": null, "o": "\\ud83d"}',
        "{",
    )
    of = source(path, keep=["topic", "n", "o"])
    assert of.keep_schema == pa.schema([("topic", pa.string()), ("n", pa.string()), ("o", pa.string())])
    assert [kept(prompt, of) for prompt in prompts(of)] == [
        {"topic": "t", "n": "1.0", "o": '{"b": [1, NaN]}'},
        {"topic": None, "n": None, "o": "\ufffd"},
        {"topic": None, "n": None, "o": None},
    ]


def test_the_whole_line_can_be_kept_beside_a_field_of_that_name(tmp_path: Path) -> None:
    of = source(lines(tmp_path / "a.jsonl", '{"prompt": "a",  "input": 1}', "{"), keep=["*", "input"])
    assert [kept(prompt, of) for prompt in prompts(of)] == [
        {"input": '{"prompt": "a",  "input": 1}', "input_input": "1"},
        {"input": "{", "input_input": None},
    ]


def test_kept_parquet_columns_keep_their_type(tmp_path: Path) -> None:
    columns = {
        "prompt": ["a", "b"],
        "n": pa.array([1, None], pa.int16()),
        "t": pa.array(["x", "y"], pa.dictionary(pa.int8(), pa.string())),
        "o": pa.array([{"d": "x", "e": [dt.date(2026, 1, 1)]}, None]),
    }
    of = source(parquet(tmp_path / "a.parquet", columns), keep=["*"])
    assert of.keep_schema.types == [
        pa.string(),
        pa.int16(),
        pa.string(),
        pa.struct([("d", pa.string()), ("e", pa.list_(pa.date32()))]),
    ]
    assert [kept(prompt, of) for prompt in prompts(of)] == [
        {"prompt": "a", "n": 1, "t": "x", "o": {"d": "x", "e": [dt.date(2026, 1, 1)]}},
        {"prompt": "b", "n": None, "t": "y", "o": None},
    ]


def test_a_kept_column_that_clashes_with_a_result_is_renamed(tmp_path: Path) -> None:
    columns = {"prompt": ["a"], "id": ["i"], "input_id": ["j"], "score": [0.5]}
    of = source(parquet(tmp_path / "a.parquet", columns), keep=["*"], reserved=["id", "score", "row"])
    assert of.keep_schema.names == ["prompt", "input_input_id", "input_id", "input_score"]
    assert kept(prompts(of)[0], of) == {"prompt": "a", "input_input_id": "i", "input_id": "j", "input_score": 0.5}


def test_files_share_one_type_for_a_kept_column(tmp_path: Path) -> None:
    one = parquet(tmp_path / "a.parquet", {"prompt": ["a"], "n": pa.array([1], pa.int16())})
    two = parquet(tmp_path / "b.parquet", {"prompt": ["b"], "n": pa.array([2], pa.int64())})
    of = source(one, two, keep=["n"])
    assert of.keep_schema.field("n").type == pa.int64()
    assert [kept(prompt, of) for prompt in prompts(of)] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("second", "keep", "why"),
    [
        ({"prompt": ["b"], "n": ["x"]}, ["n"], "column 'n' is string, but int64 in the files before"),
        ({"prompt": ["b"]}, ["n"], "no column 'n'; it has prompt"),
    ],
)
def test_kept_columns_that_cannot_be_shared_are_a_fault(
    tmp_path: Path, second: dict[str, Any], keep: list[str], why: str
) -> None:
    one = parquet(tmp_path / "a.parquet", {"prompt": ["a"], "n": [1]})
    with pytest.raises(InputFault, match=why):
        source(one, parquet(tmp_path / "b.parquet", second), keep=keep)


def test_star_fills_what_a_file_lacks_with_null(tmp_path: Path) -> None:
    one = parquet(tmp_path / "a.parquet", {"prompt": ["a"], "n": [1]})
    of = source(one, parquet(tmp_path / "b.parquet", {"prompt": ["b"]}), keep=["*"])
    assert [kept(prompt, of)["n"] for prompt in prompts(of)] == [1, None]


def test_star_cannot_mean_both_formats(tmp_path: Path) -> None:
    both = parquet(tmp_path / "a.parquet", {"prompt": ["a"]}), lines(tmp_path / "b.jsonl", {"prompt": "b"})
    with pytest.raises(InputFault, match="name the columns, or use one format"):
        source(*both, keep=["*"])


def test_parquet_text_and_json_lines_share_a_kept_column(tmp_path: Path) -> None:
    one = parquet(tmp_path / "a.parquet", {"prompt": ["a"], "t": ["x"]})
    of = source(one, lines(tmp_path / "b.jsonl", {"prompt": "b", "t": 1}), keep=["t"])
    assert [kept(prompt, of)["t"] for prompt in prompts(of)] == ["x", "1"]
