"""Why a build failed: rules over the lines of its log, kept as data.

`patterns.py` is the language of the rules, `rules.py` reads them, `explainer.py` applies them,
`ways.py` makes the ways out, and `fingerprint.py` groups the failures that no rule explains. Everything is pure, except that rules
are read from files. `builds/run.py` asks once, when a build has failed.
"""

from jupyterhub_binder.builds.explain.explainer import Explainer, Failure, Finder
from jupyterhub_binder.builds.explain.rules import FailureRule, RuleError, read_rules

__all__ = ["Explainer", "Failure", "FailureRule", "Finder", "RuleError", "read_rules"]
