"""Tokens of a text: estimated from its characters, or counted where a tokenizer is at hand.

Uses a tokenizer only where one is installed and its vocabulary already lies on this machine: nothing is fetched.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    CountTokens: TypeAlias = Callable[[str], int]
    Chars = TypeVar("Chars", int, NDArray[np.int64])

CHARS_PER_TOKEN = 4  # of English text; an estimate wherever no provider has counted yet
_TIKTOKEN_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


def estimate_tokens(chars: Chars) -> Chars:
    """Input tokens of a request of so many characters, or of n requests; a token that is begun counts."""
    return -(-chars // CHARS_PER_TOKEN)


def find_tokenizer(model: str) -> tuple[str, CountTokens] | None:
    """A name and a counter of tokens for `model`; None where nothing on this machine counts them."""
    return _tiktoken(model) or _tokenizers(model)


def _tiktoken(model: str) -> tuple[str, CountTokens] | None:
    """OpenAI's own, which fetches a vocabulary that is not in its cache: so only where it is."""
    try:
        import tiktoken  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    try:
        name = tiktoken.encoding_name_for_model(model.rpartition("/")[2])
    except KeyError:
        return None
    if not _tiktoken_cache(_TIKTOKEN_ADDRESS.format(name)).is_file():
        return None
    encoding = tiktoken.get_encoding(name)
    return f"tiktoken {name}", lambda text: len(encoding.encode(text, disallowed_special=()))


def _tiktoken_cache(address: str) -> Path:
    """Where tiktoken keeps what it once fetched from an address."""
    usual = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", usual))
    return Path(folder) / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()


def _tokenizers(model: str) -> tuple[str, CountTokens] | None:
    """A Hugging Face tokenizer that lies in a directory of the model's name, or was downloaded before."""
    try:
        import tokenizers  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    path = Path(model, "tokenizer.json")
    file = path if path.is_file() else _downloaded(model)
    if file is None:
        return None
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    return f"the tokenizer of {model}", lambda text: len(tokenizer.encode(text).ids)


def _downloaded(model: str) -> Path | None:
    try:
        import huggingface_hub  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    try:
        path = huggingface_hub.try_to_load_from_cache(model, "tokenizer.json")
    except ValueError:  # a model's name that no repository can have
        return None
    return Path(path) if isinstance(path, str) else None
