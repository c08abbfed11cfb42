"""Changes that no test can notice, because nothing is different for anybody; with the reason."""

#: name of the mutant (``Mutant.name``) -> why nobody can tell it from the original
EXPLAINED: dict[str, str] = {}
