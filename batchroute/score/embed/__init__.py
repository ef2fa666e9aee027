"""Prompts -> the dot product of their embedding with one vector: an embedder and a folded model, put together.

    product   what that is, and vectors that are multiplied as they come
    builtin   hashed n-grams, whose vectors are never made
    given     vectors of a column, or of a user's class
    sentences vectors of a sentence-transformers model
    choose    [router.embedder] -> its product

Knows nothing of the models behind the vector.
"""
