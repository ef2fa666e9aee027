"""A job file -> a `Job`, or every fault in it with its line; its secrets and its prices.

    spec     what a job is: one model per section        rules    what must hold between settings
    endpoint one of its endpoints                         section  what all sections have in common
    pilot    the pilot, its judge, the check of an answer engine   where the work of a run is done
    kinds    the kinds of values that settings have
    toml     TOML with line numbers                       load     a job file in, and out again without secrets
    secrets  keys from the environment; scrubbed texts    settings all the keys, and which differ
    prices   an endpoint opened with its price; what an answer cost, and the most it can cost
    rates    a price as straight lines                    price_table  the bundled table's, by model and provider
    tiers    the names of tiers of service                media    the most tokens of an image, a sound or a file
    served   whether the model that answered was asked    providers what is known of them beside prices
    beside   the modules that lie beside a job file       excerpt  a line and a caret, where no secret can be
    meant    what the writer of a wrong setting meant
    described  each key in words, and as a JSON schema
    params/  chat's params in the words of the API that an endpoint speaks

Knows no rows, no network and no run directory.
"""
