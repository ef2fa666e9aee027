"""Prompts -> the dot product of their embedding with one vector: an embedder and a folded model, put together.

    embedders  [router.embedder] -> its vectors, or its product with a model's vector
    builtin    hashed n-grams and surface features, whose vectors are never made
    ngrams     texts -> the buckets of their n-grams
    surface    texts -> length, digits, marks of code ...

Knows nothing of the model behind the vector.
"""
