"""The identity of the built-in model that shipped before today's, as run directories have it."""

EARLIER = "mf:00255cd863fa6b13:gpt-4-1106-preview>mixtral-8x7b-instruct-v0.1:hashed-ngrams-2"
