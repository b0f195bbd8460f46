"""The upsampler: from stored scores and charters to the weight of every document.

    charters.py    which charters, read from where
    utility.py     what a charter makes of a document's scores; vetoes, quorum, bridging
    histogram.py   pass one: counts per charter, domain and utility, mergeable by addition
    mix.py         budget per domain
    curve.py       weight by utility, for one charter in one domain
    plan.py        all of it as one plan, readable and sufficient
    pool.py        pass two: weight, repeats and contributions of documents
    rehydration.py weight for documents that the pool held more than once
    ballots.py     a charter out of people's ballots
    words.py       plans and charters in plain words

README.md says what was decided and measured; EXAMPLE.md weighs twelve documents by hand.
"""
