"""Our Transformer beside those of others, on the same work: training step, decoding, attention.

Run ``make bench``, or ``python -m benchmarks`` from the top of the checkout; `README.md` says what is compared.
"""
