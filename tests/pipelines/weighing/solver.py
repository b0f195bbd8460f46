"""The weighing of small corpora, solved again: pure Python, floats, bisection, nothing of the product.

Where the product uses closed forms and exact fractions, this page follows the definitions step by
step: medians over voters that are really there, water levels and exponents by bisection.
"""

from statistics import median


def bisect(holds, low, high, steps=100):
    """The largest number in [low, high] for which `holds` is true, where it is true below some point."""
    if holds(high):
        return high
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def markets(votes, voters, domains):
    """Shares by independent markets; `votes` charter → domain → share, `voters` charter → number."""
    n = sum(voters.values())

    def at(t):
        phantoms = [min(t * (n - k), 1.0) for k in range(n + 1)]
        ballots = {g: [votes[c].get(g, 0.0) for c in votes for _ in range(voters[c])] for g in domains}
        return {g: median(ballots[g] + phantoms) for g in domains}

    return at(bisect(lambda t: sum(at(t).values()) <= 1, 0.0, 1.0, 60))


def budgets(shares, budget, limits):
    """min(share × budget, limit), the excess spread over the rest by share until nothing moves."""
    given = {g: min(share * budget, limits[g]) for g, share in shares.items()}
    for _ in range(200):
        room = {g: share for g, share in shares.items() if share > 0 and given[g] < limits[g] - 1e-12}
        excess = budget - sum(given.values())
        if excess < 1e-12 * budget or not room:
            break
        given |= {g: min(given[g] + excess * room[g] / sum(room.values()), limits[g]) for g in room}
    return given


def bin_weights(bins, spend, cap):
    """Weight for each utility of `bins` (utility → tokens), by the curve that spends `spend`."""
    total = sum(bins.values())

    def weigh(a, q):
        def g(t):
            return max(0.0, (t - a) / (1 - a)) ** q

        weights, below = {}, 0
        for utility in sorted(bins):
            v0, v1 = below / total, (below + bins[utility]) / total
            weights[utility] = spend / total * (g(v1) - g(v0)) / (v1 - v0)
            below += bins[utility]
        return weights

    def fits(a, q):
        return max(weigh(a, q).values()) <= cap * (1 + 1e-13)

    if fits(0.4, 1):
        return weigh(0.4, bisect(lambda q: fits(0.4, q), 1.0, 8.0))
    return weigh(bisect(lambda a: fits(a, 1), 0.0, 0.4), 1)


def solve(documents, voters, votes, budget, cap, redistribute):
    """Contributions {charter: s_c w_c} of documents (domain, tokens, {charter: utility, None: not accepted}).

    `votes`: charter → domain → share, None for natural; `voters`: their numbers, in the ratio of shares.
    """
    share = {c: voters[c] / sum(voters.values()) for c in voters}
    pool = {}
    for g, tokens, _ in documents:
        pool[g] = pool.get(g, 0) + tokens
    natural = {g: pool[g] / sum(pool.values()) for g in pool}
    targets = markets({c: vote or natural for c, vote in votes.items()}, voters, pool)
    given = budgets(targets, budget, {g: cap * pool[g] for g in pool})
    result = [dict.fromkeys(voters, 0.0) for _ in documents]
    for g in pool:
        bins = {c: {} for c in voters}
        for domain, tokens, utilities in documents:
            for c in voters:
                if domain == g and utilities[c] is not None:
                    bins[c][utilities[c]] = bins[c].get(utilities[c], 0) + tokens
        limits = {c: cap * sum(bins[c].values()) for c in voters}

        def spends(level, limits=limits):
            return {c: min(level, limits[c]) for c in voters}

        level, z = given[g], given[g]
        if redistribute:
            level = bisect(lambda high, z=z, f=spends: sum(share[c] * s for c, s in f(high).items()) <= z, z, 1e6 * z)
        for c, spend in spends(level).items():
            if spend > 0:
                weights = bin_weights(bins[c], spend, cap)
                for row, (domain, _, utilities) in zip(result, documents, strict=True):
                    if domain == g and utilities[c] is not None:
                        row[c] = share[c] * weights[utilities[c]]
    return result
