"""Queries over the rules that administrators made; each runs in one transaction."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from jupyterhub_binder.oversight import Rule
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import read_rule, rule_row, rules


class RuleQueries:
    """The part of the store that knows rules."""

    _database: Database

    async def list_rules(self) -> tuple[Rule, ...]:
        """Return all rules, the newest first."""
        return await self._database.run(_list)

    async def put_rule(self, rule: Rule) -> Rule:
        """Keep a rule; one of the same kind and pattern keeps its id and gets the new reason."""
        return await self._database.run(_put, rule)

    async def delete_rule(self, rule_id: str) -> Rule | None:
        """Remove a rule; return what it was, None where there was none."""
        return await self._database.run(_delete, rule_id)


def _list(connection: sa.Connection) -> tuple[Rule, ...]:
    query = rules.select().order_by(rules.c.created.desc(), rules.c.id)
    return tuple(read_rule(row) for row in connection.execute(query).mappings())


def _put(connection: sa.Connection, rule: Rule) -> Rule:
    same = sa.and_(rules.c.kind == rule.kind, rules.c.pattern == rule.pattern)
    known = connection.scalar(sa.select(rules.c.id).where(same))
    if known is None:
        connection.execute(rules.insert(), rule_row(rule))
        return rule
    kept = replace(rule, id=known)
    connection.execute(rules.update().where(same).values(rule_row(kept)))
    return kept


def _delete(connection: sa.Connection, rule_id: str) -> Rule | None:
    row = connection.execute(rules.select().where(rules.c.id == rule_id)).mappings().first()
    if row is None:
        return None
    connection.execute(rules.delete().where(rules.c.id == rule_id))
    return read_rule(row)
