"""Fault campaign: damaged inputs and killed runs, each of which must end in a right result or one clear sentence.

    make chaos                                                          # every kind, under ten minutes on two cores
    PYTHONPATH=benchmarks python -m chaos --kind suites --seed 17       # one kind, with another seed
    PYTHONPATH=benchmarks python -m chaos --kind suites --seed 17 --only 123    # one case again

Each file of ``kinds/`` holds the inputs of one kind. ``docs/reliability.md`` has the figures.
"""
