"""Ten questions to begin with, each with the SQL that answers it over a run's views."""

__all__ = ["EXAMPLES"]

EXAMPLES: tuple[tuple[str, str], ...] = (
    (
        "What weighs most, and who asked for it?",
        """\
SELECT round(weight, 2) AS weight, domain, contributions, left(text, 80) AS begins
FROM documents
WHERE id IN (SELECT id FROM weights ORDER BY weight DESC, id LIMIT 10)
ORDER BY documents.weight DESC, id""",
    ),
    (
        "Why were documents left out?",
        """\
SELECT action, reason, count(*) AS documents
FROM (SELECT action, unnest(reasons) AS reason FROM rejects)
GROUP BY ALL
ORDER BY documents DESC, reason""",
    ),
    (
        "Who gets what: weighted tokens by charter and domain?",
        """\
SELECT *, round(100 * tokens / sum(tokens) OVER (PARTITION BY domain), 1) AS percent
FROM (
  SELECT domain, part.charter AS charter, round(sum(part.weight * tokens))::BIGINT AS tokens
  FROM (SELECT domain, tokens, unnest(contributions) AS part FROM documents)
  GROUP BY ALL)
ORDER BY domain, tokens DESC""",
    ),
    (
        "What did weighing do to the twelve prosocial dimensions?",
        """\
WITH means AS (
  SELECT 'before' AS state, avg(COLUMNS(*)) FROM (SELECT unnest(prosocial) FROM documents)
  UNION ALL
  SELECT 'after', sum(COLUMNS(* EXCLUDE share) * share) FROM (
    SELECT weight * tokens / sum(weight * tokens) OVER () AS share, unnest(prosocial)
    FROM documents WHERE prosocial IS NOT NULL))
PIVOT (UNPIVOT means ON COLUMNS(* EXCLUDE state) INTO NAME dimension VALUE mean)
ON state IN ('before', 'after') USING round(first(mean), 4)
ORDER BY dimension""",
    ),
    (
        "Which languages and domains hold the corpus, before and after weighing?",
        """\
SELECT language, domain, count(*) AS documents, sum(tokens) AS tokens,
       round(sum(tokens * weight))::BIGINT AS weighted, round(sum(tokens * weight) / sum(tokens), 2) AS mean_weight
FROM documents
GROUP BY ALL
ORDER BY weighted DESC""",
    ),
    (
        "Which charters stand alone: heavy documents that one charter pays for?",
        """\
SELECT contributions[1].charter AS charter, round(weight, 2) AS weight, domain, left(text, 80) AS begins
FROM documents
WHERE id IN (
  SELECT id FROM weights
  WHERE len(contributions) = 1 AND (SELECT count(*) FROM charters) > 1 ORDER BY weight DESC, id LIMIT 10)
ORDER BY documents.weight DESC, id""",
    ),
    (
        "What is kept although it may enact harm?",
        """\
WITH marked AS (
  SELECT id, greatest(harm.hate.toxic, harm.harassment.toxic, harm.violence.toxic, harm.sexual.toxic,
                      harm.self_harm.toxic, harm.illicit.toxic, harm.manipulation.toxic) AS toxic
  FROM documents WHERE weight > 1 ORDER BY toxic DESC NULLS LAST, id LIMIT 10)
SELECT round(toxic, 3) AS toxic, round(weight, 2) AS weight, left(text, 80) AS begins
FROM documents JOIN marked USING (id)
ORDER BY marked.toxic DESC, id""",
    ),
    (
        "What was refused for harm although people support each other in it?",
        """\
SELECT round(prosocial.compassion, 3) AS compassion, reasons, left(text, 80) AS begins
FROM rejects
WHERE len(list_filter(reasons, lambda reason: reason LIKE 'classify.toxic.%' OR reason LIKE 'charters.%')) > 0
ORDER BY prosocial.compassion DESC NULLS LAST, id
LIMIT 10""",
    ),
    (
        "Which texts come again and again?",
        """\
SELECT cluster, max(cluster_size) AS copies, list(DISTINCT source) AS sources, min(url) AS one_of
FROM clusters
GROUP BY cluster
ORDER BY copies DESC, cluster
LIMIT 10""",
    ),
    (
        "What personal data was masked, and where?",
        """\
UNPIVOT (
  SELECT source, sum(COLUMNS(* EXCLUDE source))::BIGINT
  FROM (SELECT source, unnest(personal_data) FROM scores) GROUP BY source)
ON COLUMNS(* EXCLUDE source) INTO NAME kind VALUE masked
ORDER BY masked DESC, source, kind""",
    ),
)
