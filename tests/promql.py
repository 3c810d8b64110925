"""Reads PromQL as far as zea's alerts and dashboard use it: what is asked for, and which labels come out.

Prometheus does not mind a label that no series has: it groups by nothing, matches nothing, and an alert stays silent
for ever. So labels are followed through the expression, and what cannot be is an error.
"""

from collections.abc import Iterator, Mapping

import promql_parser as promql

Labels = frozenset[str]

# What Prometheus itself puts on everything that it reads, and on whether it could be read.
TARGET: Labels = frozenset({"job", "instance"})
OF_PROMETHEUS = {"up": TARGET}
SET_OPERATORS = ("and", "or", "unless")
# Grafana's own variables are no PromQL until it has filled them in.
FILLED_IN = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}


class Misread(ValueError):
    """An expression that asks for what is not there, or compares what never matches."""


def parsed(text: str) -> promql.Expr:
    """The expression as a tree.

    Raises:
        Misread: it is no PromQL.
    """
    for variable, value in FILLED_IN.items():
        text = text.replace(variable, value)
    try:
        return promql.parse(text)
    except ValueError as error:
        raise Misread(f"{text}: {error}") from None


def selectors(node: promql.Expr, aggregation: str = "") -> Iterator[tuple[promql.VectorSelector, str]]:
    """The series that are asked for, each with the aggregation that meets it first; "" without one."""
    match node:
        case promql.VectorSelector():
            yield node, aggregation
        case promql.MatrixSelector():
            yield node.vector_selector, aggregation
        case promql.AggregateExpr():
            yield from selectors(node.expr, str(node.op))
        case promql.BinaryExpr():
            yield from selectors(node.lhs, aggregation)
            yield from selectors(node.rhs, aggregation)
        case promql.Call():
            for each in node.args:
                yield from selectors(each, aggregation)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from selectors(node.expr, aggregation)


def labels(node: promql.Expr, known: Mapping[str, Labels]) -> Labels:
    """The labels of what comes out, given those of each series.

    Raises:
        Misread: a series, or a label that is asked for, is not there; or two sides have other labels and never match.
    """
    match node:
        case promql.VectorSelector():
            return _of_selector(node, known)
        case promql.MatrixSelector():
            return _of_selector(node.vector_selector, known)
        case promql.AggregateExpr():
            return _of_aggregation(node, known)
        case promql.BinaryExpr():
            return _of_operation(node, known)
        case promql.Call():
            return _of_call(node, known)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return labels(node.expr, known)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
    raise Misread(f"{node}: say here which labels come out of it")


def _of_selector(node: promql.VectorSelector, known: Mapping[str, Labels]) -> Labels:
    name = str(node.name)
    if name not in known:
        raise Misread(f"{name} is no metric")
    has = known[name] | TARGET
    _demand({each.name for each in node.matchers.matchers}, has, node)
    return has


def _of_aggregation(node: promql.AggregateExpr, known: Mapping[str, Labels]) -> Labels:
    has = labels(node.expr, known)
    if node.modifier is None:
        return frozenset()
    asked = frozenset(node.modifier.labels)
    _demand(asked, has, node)
    return asked if node.modifier.type == promql.AggModifierType.By else has - asked


def _of_operation(node: promql.BinaryExpr, known: Mapping[str, Labels]) -> Labels:
    left, right = labels(node.lhs, known), labels(node.rhs, known)
    if _is_number(node.lhs) or _is_number(node.rhs):
        return left | right
    operator, modifier = str(node.op), node.modifier
    if modifier is None or modifier.matching is None:
        if left != right and operator != "or":
            raise Misread(f"{node}: {sorted(left)} never match {sorted(right)}")
        return left | right
    if modifier.matching.type != promql.LabelModifierType.Include:
        raise Misread(f"{node}: say on which labels, not which to ignore")
    on = frozenset(modifier.matching.labels)
    _demand(on, left & right, node)
    if operator in SET_OPERATORS or modifier.card == promql.VectorMatchCardinality.ManyToOne:
        return left | frozenset(modifier.group_labels or ())
    return on


def _of_call(node: promql.Call, known: Mapping[str, Labels]) -> Labels:
    vectors = [labels(each, known) for each in node.args if not _is_number(each)]
    has = frozenset[str]().union(*vectors)
    match node.func.name:
        case "histogram_quantile":
            _demand({"le"}, has, node)
            return has - {"le"}
        case "absent":
            return frozenset(each.name for found, _ in selectors(node) for each in found.matchers.matchers)
        case "rate" | "increase" | "vector" | "abs":
            return has
    raise Misread(f"{node}: say here which labels come out of it")


def _is_number(node: promql.Expr) -> bool:
    return not any(True for _ in selectors(node))


def _demand(asked: set[str] | Labels, has: Labels, node: promql.Expr) -> None:
    if missing := asked - has:
        raise Misread(f"{node}: there is no {', '.join(sorted(missing))}")
