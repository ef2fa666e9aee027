"""/v1/embeddings: requests as a provider validates them, and vectors that are a function of the text alone."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from batchroute.simulate.answer import Reply, TrueBill
from batchroute.simulate.question import Name  # noqa: TC001  msgspec reads the field types

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.simulate.behaviour import Behaviour

Text = Annotated[str, msgspec.Meta(min_length=1)]
TOKENS_PER_TEXT = 8191  # of text-embedding-3-small; a longer text is refused
TOKENS_PER_REQUEST = 300_000  # of all the texts to embed


class EmbeddingBody(msgspec.Struct):
    """The fields of an embeddings request."""

    model: Name
    input: Text | Annotated[list[Text], msgspec.Meta(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=1536)] | None = None

    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


_DECODER = msgspec.json.Decoder(EmbeddingBody)


def read_embed(body: bytes, behaviour: Behaviour) -> EmbeddingBody:
    """ValueError says what a provider would not accept."""
    request = _DECODER.decode(body)
    lengths = [len(text) / behaviour.characters_per_token for text in request.texts()]
    if max(lengths) > TOKENS_PER_TEXT:
        raise ValueError(f"this model takes at most {TOKENS_PER_TEXT} tokens a text: shorten the input")
    if sum(lengths) > TOKENS_PER_REQUEST:
        raise ValueError(f"this model takes at most {TOKENS_PER_REQUEST} tokens a request: send fewer texts")
    if request.encoding_format == "base64" and behaviour.base64_vectors == "refused":
        raise ValueError("this server does not know the encoding_format base64")
    return request


def embed(request: EmbeddingBody, behaviour: Behaviour) -> Reply:
    """One unit vector per text, a function of the text alone."""
    texts = request.texts()
    vectors = [unit_vector(text, request.dimensions or 1536) for text in texts]
    as_base64 = request.encoding_format == "base64" and behaviour.base64_vectors == "offered"
    embeddings = [_base64(vector) if as_base64 else vector.tolist() for vector in vectors]
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(embeddings)]
    tokens = sum(max(1, int(len(text) / behaviour.characters_per_token)) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": request.model, "usage": usage}
    return Reply(200, msgspec.json.encode(body), bill=TrueBill(request.model, prompt_tokens=tokens))


def unit_vector(text: str, dimensions: int) -> NDArray[np.float32]:
    """[dimensions] float32 of length 1."""
    # The same text has the same vector in every process: Python's own hash is salted.
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
