"""Compares keras-tally with the libraries that are installed here, on this machine.

    KERAS_BACKEND=torch python -m keras_tally.bench

Answers are checked first; then come times by batch size, GB/s by number of elements
and errors by number of elements, as tables, JSON and plots. `--help` lists the options.
`import keras_tally` does not import this package.
"""
